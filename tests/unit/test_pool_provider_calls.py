"""A provider that hangs, or fails: each call has its deadline, holds up its own member alone, and its fault is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from weft.coordinator.pools import provider_calls
from weft.coordinator.pools.provider import ListedMember, MemberSpec
from weft.coordinator.pools.provider_calls import STARTS, ProviderCalls
from weft.v1 import pool_pb2


class HangingProvider:
    """Never answers, until it is told to."""

    name = description = place = "hanging"

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.stopped: list[str] = []

    def check(self, template: pool_pb2.PoolTemplate) -> None: ...

    async def list(self) -> Mapping[str, ListedMember]:
        await self.answers.wait()
        return {}

    async def start(self, member: MemberSpec) -> None:
        await self.answers.wait()

    async def stop(self, member_id: str, grace_s: float) -> None:
        self.stopped.append(member_id)

    async def forget(self, member_id: str) -> None:
        raise OSError("the engine is not there")

    async def close(self) -> None: ...


async def test_a_provider_that_hangs_is_told_and_holds_up_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provider_calls, "LIST_S", 0.05)
    monkeypatch.setattr(provider_calls, "START_S", 0.1)
    provider, done = HangingProvider(), asyncio.Event()
    calls = ProviderCalls(provider, done.set)
    assert await calls.list() is None
    assert calls.problem == "the provider did not answer within 0.05 s"
    for number in range(STARTS + 4):
        calls.ask_start(f"p-{number}", provider.answers.wait)  # type: ignore[arg-type]
    # A second one for the same member is left out.
    calls.ask_stop("p-0", 1.0)
    calls.ask_stop("p-other", 1.0)
    calls.ask_forget("p-third")
    async with asyncio.timeout(5):
        while calls.busy:
            done.clear()
            await done.wait()
    assert provider.stopped == ["p-other"]
    faults = calls.faults_of([*(f"p-{number}" for number in range(STARTS + 4)), "p-third"])
    assert set(faults.values()) == {"the provider did not answer within 0.1 s"}
    assert len(faults) == STARTS + 4
    calls.faults_taken(faults)
    assert not calls.faults_of(faults)
    provider.answers.set()
    assert (await calls.list(), calls.problem) == ({}, "")
    await calls.close()
