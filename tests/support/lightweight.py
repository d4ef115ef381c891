"""Agents as bare sessions, with the contract's duties alone: a test can keep thousands of them, or break the rules.

    async with LightAgent(channel, "a1", slots=4) as agent:   # hello, contract, heartbeats; answers what it is assigned
        ...
    error = await refusal(channel, ConnectRequest(...))       # what a stream is told that sends just this

As a program it keeps many agents that echo, each on a connection of its own, until it is killed:

    python -m tests.support.lightweight TARGET PREFIX COUNT

`agents_apart` runs that: a test that is busy itself must not be what its agents wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import uvloop

from probe.v1 import probe_pb2
from tests.support.processes import Process, until
from weft.rpc.contracts.descriptors import digest, file_descriptor_set
from weft.rpc.errors import WeftError, from_call
from weft.rpc.network.channel import client_options
from weft.rpc.times import seconds
from weft.v1 import command_pb2, coordinator_pb2_grpc, fleet_pb2, session_pb2, task_pb2

ECHO = "probe.v1.ProbeService/Echo"
CALL = "probe.v1.ProbeService/Call"
STREAM = "probe.v1.ProbeService/Stream"
CONTRACT = file_descriptor_set([probe_pb2.DESCRIPTOR])
# Sessions that the program opens at a time.
_OPENING = 64

Request = session_pb2.ConnectRequest
Response = session_pb2.ConnectResponse
Answer = Callable[[session_pb2.Assignment], session_pb2.AttemptResult | None]


def hello(
    agent_id: str,
    *,
    slots: int = 1,
    methods: Iterable[str] = (ECHO,),
    contract: bytes = CONTRACT,
    instance_id: str = "",
    **fields: Any,
) -> session_pb2.Hello:
    """A valid Hello, with these fields changed."""
    return session_pb2.Hello(
        agent_id=agent_id,
        instance_id=instance_id or uuid.uuid4().hex,
        contract_hash=digest(contract),
        methods=[fleet_pb2.HostedMethod(name=name) for name in methods],
        slots=slots,
        **fields,
    )


def echo(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    """The request as the response: right for Echo, and harmless for every method."""
    return result_of(assignment, response=assignment.payload)


def never(_: session_pb2.Assignment) -> None:
    """Keep every assignment without an answer."""


def result_of(assignment: session_pb2.Assignment, **outcome: Any) -> session_pb2.AttemptResult:
    return session_pb2.AttemptResult(
        task_id=assignment.task_id, attempt=assignment.attempt, outcome=task_pb2.Outcome(**outcome)
    )


async def refusal(channel: grpc.aio.Channel, *messages: Request, timeout_s: float = 20.0) -> WeftError:
    """Send these messages on a new session, each when the one before was answered, and return the error that ends it."""
    call = coordinator_pb2_grpc.CoordinatorServiceStub(channel).Connect(timeout=timeout_s)
    try:
        for message in messages:
            await call.write(message)
            if await call.read() is grpc.aio.EOF:
                break
        while await call.read() is not grpc.aio.EOF:
            pass
        code = await call.code()
    except grpc.aio.AioRpcError as error:
        return from_call(error)
    finally:
        call.cancel()
    raise AssertionError(f"the stream ended with {code}")


class LightAgent:
    """One session. `assigned` holds what came in, `echoed` the last heartbeat with an echo; `answer` makes the result of each, None: none is
    sent.

    Args:
        heartbeats: report as often as Welcome asked for; else never.
        reads: read the stream; else only Welcome.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        agent_id: str,
        *,
        slots: int = 1,
        methods: Sequence[str] = (ECHO,),
        contract: bytes = CONTRACT,
        answer: Answer = echo,
        heartbeats: bool = True,
        reads: bool = True,
        **fields: Any,
    ) -> None:
        self.agent_id = agent_id
        self.welcome = session_pb2.Welcome()
        self.assigned: list[session_pb2.Assignment] = []
        self.received: list[Response] = []
        self.echoed = 0
        self._hello = hello(agent_id, slots=slots, methods=methods, contract=contract, **fields)
        self._contract = contract
        self._answer = answer
        self._heartbeats = heartbeats
        self._reads = reads
        self._call = coordinator_pb2_grpc.CoordinatorServiceStub(channel).Connect(wait_for_ready=True)
        self._writing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> session_pb2.Welcome:
        """Say hello, send the contract when it is asked for, and begin to live.

        Raises:
            WeftError: the session was refused.
        """
        try:
            await self._call.write(Request(hello=self._hello))
            first = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise from_call(error) from error
        assert isinstance(first, Response), "the stream ended without a Welcome"
        self.welcome = first.welcome
        if self.welcome.contract_needed:
            await self.send(Request(contract=session_pb2.Contract(file_descriptor_set=self._contract)))
        if self._heartbeats:
            self._tasks.append(asyncio.create_task(self._beat(seconds(self.welcome.heartbeat_interval))))
        if self._reads:
            self._tasks.append(asyncio.create_task(self._read()))
        return self.welcome

    async def send(self, message: Request) -> None:
        async with self._writing:
            await self._call.write(message)

    async def assigned_to(self, count: int) -> None:
        """Wait until this many assignments have come in, over all its time."""
        await until(lambda: len(self.assigned) >= count, f"{count} assignments at {self.agent_id}")

    async def holds(self, task_id: str) -> None:
        """Wait until the task is assigned to it."""
        await until(
            lambda: task_id in {item.task_id for item in self.assigned}, f"{self.agent_id} has {task_id}"
        )

    async def ended(self) -> WeftError | None:
        """Wait for the end of the stream, and say what it ended with; None: with OK. Reads what is left of it."""
        if not self._reads:
            await self._read()
        if await self._call.code() is grpc.StatusCode.OK:
            return None
        code, details = await self._call.code(), await self._call.details()
        trailers = await self._call.trailing_metadata()
        return from_call(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details))

    async def close(self, *, goodbye: bool = True) -> None:
        """Leave, by the rules or by just hanging up."""
        if goodbye and not self._call.done():
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await self.send(Request(goodbye=True))
                await self._call.code()
        for task in self._tasks:
            task.cancel()
        self._call.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _beat(self, interval_s: float) -> None:
        sequence = 0
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            while True:
                sequence += 1
                await self.send(Request(state=session_pb2.AgentReport(sequence=sequence)))
                await asyncio.sleep(interval_s)

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            while isinstance(message := await self._call.read(), Response):
                if (
                    message.assignments
                    or message.cancels
                    or message.result_acks
                    or message.progress_acks
                    or message.direct_problem
                ):
                    self.received.append(message)
                self.assigned.extend(message.assignments)
                self.echoed = message.echo_sequence or self.echoed
                if message.commands:
                    replies = [
                        command_pb2.CommandReply(command_id=each.command_id) for each in message.commands
                    ]
                    await self.send(Request(command_replies=replies))
                results = [result for item in message.assignments if (result := self._answer(item))]
                if results:
                    await self.send(Request(results=results))


@contextlib.asynccontextmanager
async def agents_apart(target: str, prefix: str, count: int, *, log: Path) -> AsyncIterator[Process]:
    """A process that keeps `count` agents with this prefix connected, once all are; killed at the end."""
    # The log may have the lines of such a process before it.
    opened = (log.read_text() if log.exists() else "").count(f"opened {count}")
    process = Process.module("agents", "tests.support.lightweight", target, prefix, str(count), log=log)
    try:
        await until(
            lambda: process.output().count(f"opened {count}") > opened or not process.alive,
            f"{count} agents are connected",
            timeout_s=60,
        )
        assert process.alive, process.output()
        yield process
    finally:
        process.cleanup()


async def _keep(target: str, prefix: str, count: int) -> None:
    """Keep `count` agents connected; one line on standard output when all are, one for each that is lost."""
    opening = asyncio.Semaphore(_OPENING)

    async def keep(agent_id: str) -> LightAgent:
        async with opening:
            channel = grpc.aio.insecure_channel(target, options=client_options(own_connection=True))
            agent = LightAgent(channel, agent_id, takes_commands=True)
            await agent.open()
            return agent

    agents = await asyncio.gather(*(keep(f"{prefix}{number:05}") for number in range(count)))
    print(f"opened {count}", flush=True)
    for ended in asyncio.as_completed([agent.ended() for agent in agents]):
        print(f"lost: {await ended!r}", flush=True)


if __name__ == "__main__":
    uvloop.run(_keep(sys.argv[1], sys.argv[2], int(sys.argv[3])))
