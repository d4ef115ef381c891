"""Alerts as events: what is wrong fires once over all coordinators, and is resolved, whichever of them is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.support.command import weft
from tests.support.lightweight import LightAgent
from tests.support.mesh import MeshHarness
from weft.client import Mesh, connect
from weft.v1 import lifecycle_pb2, usage_pb2
from weft.v1.lifecycle_pb2 import AlertFired, AlertResolved
from weft.v1.usage_pb2_grpc import UsageServiceStub

ECHO = "probe.v1.ProbeService/Echo"
NO_AGENT, BUDGET = lifecycle_pb2.ALERT_KIND_NO_AGENT, lifecycle_pb2.ALERT_KIND_BUDGET_SPENT


@contextlib.asynccontextmanager
async def followed(mesh: Mesh, *kinds: Any) -> AsyncIterator[list[Any]]:
    """The messages of some topics, as they come."""
    heard: list[Any] = []
    begun = [asyncio.Event() for _ in kinds]

    async def follow(kind: Any, event: asyncio.Event) -> None:
        async with aclosing(mesh.events.subscribe(kind, on_start=lambda _: event.set())) as events:
            async for each in events:
                heard.append(each.message)

    tasks = [asyncio.create_task(follow(kind, each)) for kind, each in zip(kinds, begun, strict=True)]
    try:
        async with asyncio.timeout(10):
            await asyncio.gather(*(each.wait() for each in begun))
        yield heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(heard: list[Any], kind: type, alert: int, *, within_s: float = 30.0) -> Any:
    async with asyncio.timeout(within_s):
        while True:
            for each in heard:
                if isinstance(each, kind) and each.alert.kind == alert:
                    return each
            await asyncio.sleep(0.05)


async def test_a_spent_budget_fires_and_nothing_does_while_nobody_listens(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with connect(mesh.target) as client, LightAgent(mesh.own_channel(), "a1"):
        await mesh.wait_serving()
        usage = UsageServiceStub(mesh.channel())
        budget = usage_pb2.Budget(name="few", unit="attempts", amount=1)
        await usage.SetBudget(usage_pb2.SetBudgetRequest(budget=budget))
        handle = await client.tasks.submit(ECHO, b"")
        await handle.ended(10)
        assert [each async for each in client.events.topics()] == []
        async with followed(client, AlertFired) as heard:
            fired = await until(heard, AlertFired, BUDGET)
            assert (fired.alert.subject, fired.alert.text) == ("few", "1 of 1 attempts are used")
            assert fired.alert.fire_time.seconds > 0
        # Its type is known to commands, though no agent and no service has it.
        listed = await weft("events", "list", "weft.v1.AlertFired", target=mesh.target)
        assert listed.status == 0, listed
        assert "BUDGET_SPENT few" in listed.out


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_each_alert_fires_once_and_is_resolved_at_two_coordinators(
    pair: tuple[MeshHarness, MeshHarness],
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        targets = ",".join(each.target for each in pair)
        client = await stack.enter_async_context(connect(targets))
        async with LightAgent(pair[0].own_channel(), "a1"):
            for each in pair:
                await each.wait_serving()
        handle = await client.tasks.submit(ECHO, b"")
        heard = await stack.enter_async_context(followed(client, AlertFired, AlertResolved))
        fired = await until(heard, AlertFired, NO_AGENT)
        assert fired.alert.subject == ECHO
        assert "none is connected" in fired.alert.text
        # One of both looks: after a while the other one has to.
        for mesh in pair:
            await mesh.restart_coordinator()
            await asyncio.sleep(12)
        async with LightAgent(pair[1].own_channel(), "a2"):
            await handle.ended(20)
            resolved = await until(heard, AlertResolved, NO_AGENT)
        assert resolved.alert == fired.alert
        stored = [
            (kind.__name__, each.message.alert.kind, each.message.alert.fire_time.ToMicroseconds())
            for kind in (AlertFired, AlertResolved)
            async for each in client.events.list(kind)
        ]
        assert set(Counter(stored).values()) == {1}
        assert len(stored) == 2
