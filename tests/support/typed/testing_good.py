"""Right uses of `weft.testing`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import grpc
import grpc.aio

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.agent import Agent
from weft.client import methods
from weft.testing import HandlerTask, handler_outcome, mesh_of, run_handler, run_handler_sync

AioContext = grpc.aio.ServicerContext[Any, Any]


class Probe(probe_pb2_grpc.ProbeServiceServicer):
    async def Echo(self, request: probe_pb2.Payload, context: Any) -> probe_pb2.Payload:
        return request

    def CallSync(self, request: probe_pb2.ProbeRequest, context: Any) -> probe_pb2.ProbeReply:
        return probe_pb2.ProbeReply()

    async def Stream(
        self, request: probe_pb2.ProbeRequest, context: Any
    ) -> AsyncIterator[probe_pb2.ProbeReply]:
        yield probe_pb2.ProbeReply()


def shout(request: dict[str, Any]) -> dict[str, Any]:
    return request


@Agent("a").method("acme.v1.Shouter/Whisper")
async def whisper(request: dict[str, Any]) -> dict[str, Any]:
    return request


def count(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield request


async def test_handlers(probe: Probe) -> None:
    assert_type(await run_handler(probe.Echo, probe_pb2.Payload(data=b"x")), probe_pb2.Payload)
    assert_type(await run_handler(probe.CallSync, probe_pb2.ProbeRequest()), probe_pb2.ProbeReply)
    replies = await run_handler(probe.Stream, probe_pb2.ProbeRequest(), timeout_s=3, metadata=[("a", "b")])
    assert_type(replies, list[probe_pb2.ProbeReply])
    assert_type(await run_handler(shout, {"a": 1}, task=HandlerTask(attempt=2)), dict[str, Any])
    assert_type(await run_handler(whisper, {"a": 1}), dict[str, Any])
    outcome = await handler_outcome(probe.Echo, probe_pb2.Payload())
    if outcome.error is not None:
        assert_type(outcome.error.code(), grpc.StatusCode)


def test_without_a_loop(probe: Probe) -> None:
    assert_type(run_handler_sync(probe.Echo, probe_pb2.Payload()), probe_pb2.Payload)
    assert_type(run_handler_sync(count, {"a": 1}), list[dict[str, Any]])


async def test_a_mesh(agent: Agent) -> None:
    async with mesh_of(agent, skip_idle_time=False, result_ttl_s=60) as mesh:
        probe = methods(probe_pb2_grpc.ProbeServiceStub)
        handle = await mesh.tasks.submit(probe.Echo, probe_pb2.Payload(), delay_s=3600)
        await mesh.clock.advance(3600)
        assert_type(await handle.result(), probe_pb2.Payload)
        assert_type(mesh.clock.now(), float)
        await mesh.add(agent)
