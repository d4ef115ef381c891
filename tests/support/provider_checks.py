"""What every provider of pools must do: the conformance suite of `AgentProvider`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from weft.coordinator.pools.provider import AgentProvider, FreezingProvider, ListedMember, MemberSpec
from weft.v1 import pool_pb2

WITHIN_S = 20.0


async def check_provider(
    provider: AgentProvider, template: pool_pb2.PoolTemplate, end: Callable[[str, ListedMember], None]
) -> None:
    """Start, stop and lose members.

    Args:
        template: of members that run until they are ended.
        end: ends a member from outside.
    """
    provider.check(template)
    assert provider.place

    def spec(member_id: str) -> MemberSpec:
        return MemberSpec(
            member_id, "p", template, {"WEFT_TARGET": "10.0.0.1:7700", "WEFT_AGENT_ID": member_id}
        )

    assert await provider.list() == {}
    # What is not there is none.
    await provider.stop("p-nobody", 0)
    await provider.forget("p-nobody")
    await provider.start(spec("p-one"))
    first = await _until(provider, "p-one", running=True)
    # Another coordinator takes up the start.
    await asyncio.gather(provider.start(spec("p-one")), provider.start(spec("p-one")))
    assert (await provider.list()) == {"p-one": first}
    # One that runs is not forgotten, but by a provider that ends what it forgets.
    await _stopped(provider, "p-one", 5.0)
    await provider.forget("p-one")
    await _gone(provider, "p-one")
    # One that ends by itself is seen, and stays as it is.
    await provider.start(spec("p-two"))
    end("p-two", await _until(provider, "p-two", running=True))
    listed = await _until(provider, "p-two", running=False)
    assert listed.ending
    await provider.start(spec("p-two"))
    assert not (await provider.list())["p-two"].running
    await provider.forget("p-two")
    await _gone(provider, "p-two")
    if isinstance(provider, FreezingProvider):
        await _check_freezing(provider, spec)
    await provider.close()


async def _check_freezing(provider: FreezingProvider, spec: Callable[[str], MemberSpec]) -> None:
    """Members stand still and go on; one that stands still can be stopped."""
    for told in (provider.freeze, provider.thaw):
        await told("p-nobody")
    await provider.start(spec("p-three"))
    await _until(provider, "p-three", running=True)
    # Another coordinator does the same.
    for told, frozen in ((provider.freeze, True), (provider.thaw, False), (provider.freeze, True)):
        for _ in range(2):
            await told("p-three")
            assert (await _until(provider, "p-three", running=True, frozen=frozen)).handle
    await _stopped(provider, "p-three", 5.0)
    for told in (provider.freeze, provider.thaw):
        await told("p-three")
    assert not (await _until(provider, "p-three", running=False)).frozen
    await provider.forget("p-three")
    await _gone(provider, "p-three")


async def _until(
    provider: AgentProvider, member_id: str, *, running: bool, frozen: bool = False
) -> ListedMember:
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = (await provider.list()).get(member_id)
            if found is not None and found.running is running and found.frozen is frozen:
                return found
            await asyncio.sleep(0.05)


async def _stopped(provider: AgentProvider, member_id: str, grace_s: float) -> None:
    """A driver asks again and again."""
    async with asyncio.timeout(WITHIN_S):
        while (found := (await provider.list()).get(member_id)) is not None and found.running:
            await provider.stop(member_id, grace_s)
            await asyncio.sleep(0.05)


async def _gone(provider: AgentProvider, member_id: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while member_id in await provider.list():
            await asyncio.sleep(0.05)
