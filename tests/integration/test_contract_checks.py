"""Agents that start together on a busy machine: their contract is checked once for all, and their heartbeats are echoed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence

import grpc
import pytest
from buf.validate import validate_pb2

from tests.support import schema
from tests.support.hostile_contracts import ruled
from tests.support.lightweight import LightAgent
from tests.support.processes import until
from weft.client import AgentState
from weft.coordinator.contracts import contract_loading
from weft.rpc.network.channel import client_options
from weft.testing import mesh_of
from weft.v1 import session_pb2

AGENTS = 8


class SlowCheck:
    """The check of contracts, which lasts as long as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checked: list[str] = []
        self.may_end = threading.Event()
        self._verdict = contract_loading._verdict
        monkeypatch.setattr(contract_loading, "_verdict", self._slow)

    def _slow(self, files: bytes, methods: Sequence[str], digest: str) -> object:
        self.checked.append(digest)
        assert self.may_end.wait(60)
        return self._verdict(files, methods, digest)


async def test_heartbeats_are_echoed_while_a_contract_is_checked_and_that_is_done_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = SlowCheck(monkeypatch)
    contract = ruled(validate_pb2.FieldRules(string=validate_pb2.StringRules(min_len=1)))
    async with mesh_of(heartbeat_interval_s=60) as mesh, contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(mesh.target, options=client_options())
        )
        agents = [
            LightAgent(channel, f"a{number}", methods=(schema.METHOD,), contract=contract, heartbeats=False)
            for number in range(AGENTS)
        ]
        for agent in agents:
            await stack.enter_async_context(agent)
            assert agent.welcome.contract_needed
        for sequence in range(1, 6):
            for agent in agents:
                await agent.send(session_pb2.ConnectRequest(state=session_pb2.AgentReport(sequence=sequence)))
            await until(
                lambda sequence=sequence: all(each.echoed == sequence for each in agents), "all echoes"
            )
        # Nothing is hosted before the contract is in force.
        assert not await mesh.fleet.agents(schema.METHOD)
        # One that leaves meanwhile is gone at once; one that sends its contract twice has to dial again.
        await agents[0].close()
        again = session_pb2.ConnectRequest(contract=session_pb2.Contract(file_descriptor_set=contract))
        await agents[1].send(again)
        ended = await agents[1].ended()
        assert ended is not None
        assert "came again" in ended.message
        check.may_end.set()

        async with asyncio.timeout(20):
            while True:
                hosts = await mesh.fleet.agents(schema.METHOD)
                if sum(each.state is AgentState.ACTIVE for each in hosts) == AGENTS - 2:
                    break
                await asyncio.sleep(0.01)
        assert len(check.checked) == 1
