"""Real gRPC servers as endpoints of a balancer: what an agent's direct server looks like from outside, with knobs.

In the test's own process, where it can turn the knobs at any time, or as a process of its own, which can be killed:
python -m tests.support.endpoints ID
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from tests.support.processes import Process, until
from weft.rpc import errors
from weft.rpc.balancing import BalancedChannel, Balancer
from weft.rpc.network.channel import server_options
from weft.v1 import agent_pb2, fleet_pb2

UNARY, STREAM = "test.v1.Test/Unary", "test.v1.Test/Stream"
COLLECT, CHAT = "test.v1.Test/Collect", "test.v1.Test/Chat"
METHODS = (UNARY, STREAM, COLLECT, CHAT)


def agent(agent_id: str, address: str, **fields: Any) -> fleet_pb2.Agent:
    """The endpoint as a snapshot of the fleet has it."""
    known: dict[str, Any] = {
        "id": agent_id,
        "state": fleet_pb2.AGENT_STATE_ACTIVE,
        "advertised_address": address,
        "slots": 8,
        "methods": [fleet_pb2.HostedMethod(name=name) for name in METHODS],
    }
    return fleet_pb2.Agent(**(known | fields))


class EndpointServer(grpc.GenericRpcHandler):
    """Answers bytes with the same bytes, as agent `agent_id`."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.address = ""
        # The time that a call takes. With `serial`, calls run one after another.
        self.delay_s = 0.0
        self.serial = False
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        # Calls wait for it before they end.
        self.gate = asyncio.Event()
        self.gate.set()
        # The answer to every call: a refusal of the agent, or a status of its handler.
        self.refusal: errors.WeftError | None = None
        self.failure: tuple[grpc.StatusCode, str] | None = None
        # Calls that have begun, and those under way.
        self.begun = 0
        self.running = 0
        # The time that each call had when it came.
        self.left_s: list[float] = []
        self._turn = asyncio.Lock()
        self._server = aio.server(options=server_options())
        self._server.add_generic_rpc_handlers((self,))

    @property
    def agent(self) -> fleet_pb2.Agent:
        return agent(self.agent_id, self.address)

    async def start(self) -> None:
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self, grace_s: float | None = None) -> None:
        await self._server.stop(grace_s)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        shapes = {
            UNARY: grpc.unary_unary_rpc_method_handler(self._unary),
            STREAM: grpc.unary_stream_rpc_method_handler(self._stream),
            COLLECT: grpc.stream_unary_rpc_method_handler(self._collect),
            CHAT: grpc.stream_stream_rpc_method_handler(self._chat),
        }
        return shapes.get(handler_call_details.method.removeprefix("/"))

    async def _unary(self, request: bytes, context: Any) -> bytes:
        async with self._call(context):
            return request

    async def _stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Each byte is one response; the gate is before the last one."""
        for place in range(len(request) - 1):
            yield request[place : place + 1]
        async with self._call(context):
            yield request[-1:]

    async def _collect(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        collected = b"".join([request async for request in requests])
        async with self._call(context):
            return collected

    async def _chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async with self._call(context):
            async for request in requests:
                yield request

    @contextlib.asynccontextmanager
    async def _call(self, context: Any) -> AsyncIterator[None]:
        self.begun += 1
        self.running += 1
        self.left_s.append(context.time_remaining())
        try:
            seen = [value for key, value in context.invocation_metadata() if key == "echo"]
            if seen:
                await context.send_initial_metadata([("echo", value) for value in seen])
            context.set_trailing_metadata(self._trailers())
            if self.refusal is not None:
                status = self.refusal.status()
                details = (errors.STATUS_DETAILS_KEY, status.SerializeToString())
                await context.abort(self.refusal.code, status.message, (*self._trailers(), details))
            await self._work()
            if self.failure is not None:
                await context.abort(*self.failure, self._trailers())
            yield
        finally:
            self.running -= 1

    async def _work(self) -> None:
        await self.gate.wait()
        if self.serial:
            async with self._turn:
                await self.sleep(self.delay_s)
        elif self.delay_s:
            await self.sleep(self.delay_s)

    def _trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        # Refused calls have none.
        used = 0 if self.refusal is not None else self.running
        report = agent_pb2.OrcaLoadReport(named_metrics={"used_slots": used, "slots": 8})
        return (("weft-agent", self.agent_id), ("weft-load-bin", report.SerializeToString()))


class Endpoints:
    """The endpoints of one test, by id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[Process] = []
        self.servers: dict[str, EndpointServer] = {}

    async def start(self, *ids: str) -> list[EndpointServer]:
        made = [EndpointServer(agent_id) for agent_id in ids]
        for server in made:
            await server.start()
            self.servers[server.agent_id] = server
        return made

    async def spawn(self, agent_id: str) -> tuple[Process, fleet_pb2.Agent]:
        """One in a process of its own. Calls there take 20 ms."""
        log = self._folder / f"{agent_id}.log"
        process = Process.module(agent_id, __name__, agent_id, log=log)
        self._processes.append(process)
        await until(lambda: process.output().endswith("\n") or not process.alive, f"{agent_id} listens")
        assert process.alive, process.output()
        return process, agent(agent_id, process.output().strip())

    def agents(self) -> list[fleet_pb2.Agent]:
        return [server.agent for server in self.servers.values()]

    async def close(self) -> None:
        for process in self._processes:
            process.cleanup()
        for server in self.servers.values():
            server.gate.set()
            await server.stop()


def unary(balancer: Balancer) -> Any:
    """Makes unary calls on a balancer's channel."""
    return BalancedChannel(balancer).unary_unary(f"/{UNARY}")


async def all_connected(balancer: Balancer, count: int) -> None:
    """Wait until so many endpoints are connected."""
    async with asyncio.timeout(10):
        while sum(c.connected for c in balancer.explain(UNARY).candidates) < count:
            await asyncio.sleep(0.005)


async def _main(agent_id: str) -> None:
    server = EndpointServer(agent_id)
    server.delay_s = 0.02
    await server.start()
    print(server.address, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
