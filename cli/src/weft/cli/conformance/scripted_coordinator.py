"""A coordinator that sends what a check tells it to send, and records the agent's messages.

By itself it sends only the echoes of heartbeats. Every wait has a limit, and its error names what was missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_status import rpc_status

from weft.cli.conformance.protocol_rules import RuleBroken
from weft.cli.terminal.failure import Failure
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.network.channel import MAX_PAYLOAD_BYTES, make_server
from weft.rpc.network.ports import PortRefused, open_port
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, session_pb2

T = TypeVar("T")

Request = session_pb2.ConnectRequest
Response = session_pb2.ConnectResponse
ReportRequest = coordinator_pb2.ReportRequest
Result = session_pb2.AttemptResult

# For an agent's immediate reactions.
WAIT_S = 5.0
# From the end of a stream to the next one.
REDIAL_S = 10.0
HEARTBEAT_S = 0.25


class ScriptedSession:
    """One stream of the agent.

    Large because it has a method for each message to the agent, and one for each thing that checks wait for.
    """

    def __init__(self, first: Request, epoch: int) -> None:
        self.hello = first.hello
        self.epoch = epoch
        self.echoing = True
        # All received messages in order, and their times.
        self.received: list[Request] = [first]
        self.at_s: list[float] = [time.monotonic()]
        # The stream has ended.
        self.over = False
        self._changed = asyncio.Event()
        self._outgoing: asyncio.Queue[Response | WeftError | None] = asyncio.Queue()

    # -- messages to the agent ----------------------------------------------------------------------------------

    def send(self, message: Response | None = None, **parts: Any) -> None:
        """Send one message."""
        self._outgoing.put_nowait(message or Response(**parts))

    def welcome(
        self,
        *,
        adopt: Collection[str] = (),
        heartbeat_s: float = HEARTBEAT_S,
        contract_needed: bool = False,
        max_response_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        """Send Welcome. Held attempts of tasks in `adopt` are adopted, the others are lost."""
        refs = [
            session_pb2.AttemptRef(task_id=held.task_id, attempt=held.attempt) for held in self.hello.held
        ]
        self.send(
            welcome=session_pb2.Welcome(
                epoch=self.epoch,
                heartbeat_interval=duration(heartbeat_s),
                lease=duration(3 * heartbeat_s),
                contract_needed=contract_needed,
                adopted=[ref for ref in refs if ref.task_id in adopt],
                lost=[ref for ref in refs if ref.task_id not in adopt],
                max_response_bytes=max_response_bytes,
                coordinator_id="conformance",
            )
        )

    def assign(self, task_id: str, method: str, request: Message, **fields: Any) -> None:
        self.send(assignments=[assignment(task_id, method, request, **fields)])

    def cancel(self, task_id: str, *, attempt: int = 1, grace_s: float = WAIT_S, lost: bool = False) -> None:
        self.send(cancels=[cancel(task_id, attempt=attempt, grace_s=grace_s, lost=lost)])

    def ack(self, results: Iterable[Result], *, refused: bool = False) -> None:
        self.send(
            result_acks=[
                session_pb2.ResultAck(task_id=each.task_id, attempt=each.attempt, refused=refused)
                for each in results
            ]
        )

    def ack_progress(self, task_id: str, index: int) -> None:
        self.send(progress_acks=[session_pb2.ProgressAck(task_id=task_id, attempt=1, index=index)])

    def end(self, error: WeftError | None = None) -> None:
        """End the stream with an error."""
        self._outgoing.put_nowait(error or refusals.stopping("the check ends this stream", None))

    # -- messages of the agent ----------------------------------------------------------------------------------

    async def wait(self, look: Callable[[], T | None], what: str, timeout_s: float = WAIT_S) -> T:
        """Wait until `look` returns something, and return it. `look` is called after each message.

        Raises:
            RuleBroken: it does not in time, or the stream ends before.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while (found := look()) is None:
                    if self.over:
                        raise RuleBroken(f"the agent's stream ended without {what}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise RuleBroken(f"there was no {what} within {timeout_s:g} s") from None
        return found

    @property
    def reports(self) -> list[session_pb2.AgentReport]:
        return [message.state for message in self.received if message.HasField("state")]

    def results(self, task_id: str) -> list[Result]:
        return [each for message in self.received for each in message.results if each.task_id == task_id]

    def released(self, task_id: str) -> bool:
        return any(each.task_id == task_id for message in self.received for each in message.released)

    def progress(self, task_id: str) -> list[session_pb2.Progress]:
        return [each for message in self.received for each in message.progress if each.task_id == task_id]

    async def result(self, task_id: str, timeout_s: float = WAIT_S) -> Result:
        """Wait for the result of a task."""
        return await self.wait(
            lambda: next(iter(self.results(task_id)), None), f"result of attempt {task_id}/1", timeout_s
        )

    async def release(self, task_id: str) -> None:
        """Wait until an attempt is released."""
        await self.wait(lambda: self.released(task_id) or None, f"release of attempt {task_id}/1")

    async def report(
        self, wanted: Callable[[session_pb2.AgentReport], bool], what: str, timeout_s: float = WAIT_S
    ) -> session_pb2.AgentReport:
        """Wait for a new state that fulfils the condition."""
        seen = len(self.reports)
        return await self.wait(
            lambda: next((each for each in self.reports[seen:] if wanted(each)), None),
            f"state {what}",
            timeout_s,
        )

    async def heartbeats(self, count: int = 2) -> None:
        """Wait for so many new states. Messages that the agent was about to send come before them."""
        seen = len(self.reports)
        await self.wait(
            lambda: len(self.reports) >= seen + count or None,
            f"{count} further states",
            WAIT_S + count * HEARTBEAT_S,
        )

    async def closed(self, what: str, timeout_s: float = WAIT_S) -> None:
        """Wait until the stream has ended."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.over:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise RuleBroken(f"not within {timeout_s:g} s: {what}") from None

    # -- the server's side --------------------------------------------------------------------------------------

    async def serve(self, requests: AsyncIterator[Request], context: Any) -> None:
        reader = asyncio.ensure_future(self._read(requests))
        try:
            while isinstance(item := await self._outgoing.get(), Response):
                await context.write(item)
            if isinstance(item, WeftError):
                await context.abort_with_status(rpc_status.to_status(item.status()))
        finally:
            reader.cancel()
            self.over = True
            self._changed.set()

    def take(self, message: Request) -> None:
        """Record a received message."""
        self.received.append(message)
        self.at_s.append(time.monotonic())
        self._changed.set()
        if message.HasField("state") and self.echoing:
            self.send(echo_sequence=message.state.sequence)

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        try:
            async for message in requests:
                self.take(message)
        finally:
            # Half-closed, broken or malformed: to a check, all of these are the end of the stream.
            self._outgoing.put_nowait(None)


class ScriptedCoordinator(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """The server."""

    def __init__(self) -> None:
        self.address = ""
        self._epochs = 0
        self._newest: ScriptedSession | None = None
        self._dialled: asyncio.Queue[ScriptedSession] = asyncio.Queue()
        self._server = make_server()
        coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(self, self._server)

    async def start(self, listen: str) -> None:
        try:
            port = open_port(self._server, listen)
        except PortRefused as refused:
            raise Failure(f"cannot listen on {listen}: {refused}", status=2) from None
        await self._server.start()
        self.address = f"{listen.rpartition(':')[0]}:{port}"

    async def stop(self) -> None:
        await self._server.stop(0.1)

    async def accept(self, timeout_s: float = REDIAL_S) -> ScriptedSession:
        """Wait for the agent's newest stream.

        Raises:
            RuleBroken: the agent opens no stream in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    session = await self._dialled.get()
                    if not session.over and self._dialled.empty():
                        return session
        except TimeoutError:
            raise RuleBroken(f"the agent did not open a stream within {timeout_s:g} s") from None

    async def Connect(self, request_iterator: AsyncIterator[Request], context: Any) -> None:  # noqa: N802
        first = await anext(request_iterator, None)
        if first is None:
            return
        self._epochs += 1
        session = self._newest = ScriptedSession(first, self._epochs)
        self._dialled.put_nowait(session)
        await session.serve(request_iterator, context)

    async def Report(self, request: ReportRequest, context: Any) -> coordinator_pb2.ReportResponse:  # noqa: N802
        session = self._newest
        if session is None or session.over or session.epoch != request.epoch:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this session is not open")
        else:
            session.take(request.message)
        return coordinator_pb2.ReportResponse()


def assignment(
    task_id: str,
    method: str,
    request: Message,
    *,
    attempt: int = 1,
    time_left_s: float | None = None,
    **fields: Any,
) -> session_pb2.Assignment:
    """An assignment message."""
    return session_pb2.Assignment(
        task_id=task_id,
        attempt=attempt,
        method=method,
        payload=request.SerializeToString(),
        time_left=None if time_left_s is None else duration(time_left_s),
        **fields,
    )


def cancel(
    task_id: str, *, attempt: int = 1, grace_s: float = WAIT_S, lost: bool = False
) -> session_pb2.Cancel:
    """A cancellation message."""
    return session_pb2.Cancel(
        task_id=task_id, attempt=attempt, grace=duration(grace_s), reason="conformance", lost=lost
    )
