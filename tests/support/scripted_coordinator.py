"""A small real gRPC server that speaks the session by script, for tests of the agent library.

    with ScriptedCoordinator() as coordinator:
        session = coordinator.accept()            # waits for an agent's Hello
        session.welcome()
        session.assign("t1", "probe.v1.ProbeService/Call", probe_pb2.ProbeRequest(text="x"))
        result = session.result("t1")             # waits for it
        session.ack(result)

It answers nothing by itself but the echoes of heartbeats (`echo=False` for none). Every wait has a limit and says what
it waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from weft.rpc.errors import WeftError
from weft.rpc.network.channel import MAX_PAYLOAD_BYTES, server_options
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, session_pb2

WAIT_S = 10.0
T = TypeVar("T")


class ScriptedSession:
    """One stream of an agent, as the test drives it."""

    def __init__(self, hello: session_pb2.Hello, epoch: int, *, echo: bool) -> None:
        self.hello = hello
        self.epoch = epoch
        self.echo = echo
        # All received messages, in order, for assertions.
        self.received: list[session_pb2.ConnectRequest] = []
        self.ended = threading.Event()
        # Nothing comes any more.
        self._silent = self._read_all = False
        self._changed = threading.Condition()
        self._outgoing: SimpleQueue[session_pb2.ConnectResponse | WeftError | None] = SimpleQueue()

    # -- messages to the agent ----------------------------------------------------------------------------------

    def send(self, **parts: Any) -> None:
        """Send one ConnectResponse with these parts."""
        self._outgoing.put(session_pb2.ConnectResponse(**parts))

    def welcome(
        self,
        *,
        adopt: Sequence[str] | None = None,
        heartbeat_s: float = 0.5,
        contract_needed: bool = False,
        desired_state: int = 0,
        max_response_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        """Welcome the agent; `adopt` names the held tasks that stay its own (None: all)."""
        held = self.hello.held
        refs = [session_pb2.AttemptRef(task_id=each.task_id, attempt=each.attempt) for each in held]
        kept = [ref for ref in refs if adopt is None or ref.task_id in adopt]
        self.send(
            welcome=session_pb2.Welcome(
                epoch=self.epoch,
                heartbeat_interval=duration(heartbeat_s),
                lease=duration(3 * heartbeat_s),
                contract_needed=contract_needed,
                adopted=kept,
                lost=[ref for ref in refs if ref not in kept],
                desired_state=desired_state,
                max_response_bytes=max_response_bytes,
                coordinator_id="scripted",
            )
        )

    def assign(
        self,
        task_id: str,
        method: str,
        request: Message | bytes = b"",
        *,
        attempt: int = 1,
        time_left_s: float | None = None,
        **fields: Any,
    ) -> None:
        self.send(
            assignments=[
                assignment(task_id, method, request, attempt=attempt, time_left_s=time_left_s, **fields)
            ]
        )

    def cancel(
        self, task_id: str, *, attempt: int = 1, grace_s: float = 5.0, reason: str = "", lost: bool = False
    ) -> None:
        cancel = session_pb2.Cancel(
            task_id=task_id, attempt=attempt, grace=duration(grace_s), reason=reason, lost=lost
        )
        self.send(cancels=[cancel])

    def ack(self, *results: session_pb2.AttemptResult, refused: bool = False) -> None:
        self.send(
            result_acks=[
                session_pb2.ResultAck(task_id=each.task_id, attempt=each.attempt, refused=refused)
                for each in results
            ]
        )

    def ack_progress(self, task_id: str, index: int, *, attempt: int = 1) -> None:
        self.send(progress_acks=[session_pb2.ProgressAck(task_id=task_id, attempt=attempt, index=index)])

    def drop(self) -> None:
        """Break the stream, as a dying coordinator does."""
        self._outgoing.put(None)

    def refuse(self, error: WeftError) -> None:
        """End the stream with an error."""
        self._outgoing.put(error)

    # -- messages of the agent ----------------------------------------------------------------------------------

    def wait(self, look: Callable[[], T | None], what: str, timeout_s: float = WAIT_S) -> T:
        """Wait until `look` finds a result in the received messages."""
        found: list[T] = []

        def seen() -> bool:
            value = look()
            if value is not None:
                found.append(value)
            return value is not None

        with self._changed:
            self._changed.wait_for(lambda: seen() or self._silent, timeout_s)
            if not found:
                when = "before its stream ended" if self._silent else f"within {timeout_s} s"
                raise AssertionError(f"no {what} {when}; there came {self.received}")
        return found[0]

    def results(self) -> list[session_pb2.AttemptResult]:
        return [result for message in self.received for result in message.results]

    def released(self) -> list[str]:
        return [released.task_id for message in self.received for released in message.released]

    def progress(self, task_id: str) -> list[session_pb2.Progress]:
        return [each for message in self.received for each in message.progress if each.task_id == task_id]

    def states(self) -> list[session_pb2.AgentReport]:
        return [message.state for message in self.received if message.HasField("state")]

    def result(self, task_id: str, timeout_s: float = WAIT_S) -> session_pb2.AttemptResult:
        """Wait for a task's result."""

        def look() -> session_pb2.AttemptResult | None:
            return next((each for each in self.results() if each.task_id == task_id), None)

        return self.wait(look, f"result of {task_id}", timeout_s)

    def wait_released(self, *task_ids: str, timeout_s: float = WAIT_S) -> None:
        self.wait(
            lambda: set(task_ids) <= set(self.released()) or None, f"hand-back of {task_ids}", timeout_s
        )

    def wait_progress(
        self, task_id: str, count: int, timeout_s: float = WAIT_S
    ) -> list[session_pb2.Progress]:
        return self.wait(
            lambda: self.progress(task_id) if len(self.progress(task_id)) >= count else None,
            f"{count} responses of {task_id}",
            timeout_s,
        )

    def wait_state(
        self, wanted: Callable[[session_pb2.AgentReport], bool], timeout_s: float = WAIT_S
    ) -> session_pb2.AgentReport:
        """Wait for such a report; those that have come already do not count."""
        seen = len(self.states())
        return self.wait(
            lambda: next((each for each in self.states()[seen:] if wanted(each)), None),
            "such state",
            timeout_s,
        )

    def wait_goodbye(self, timeout_s: float = WAIT_S) -> None:
        self.wait(lambda: any(message.goodbye for message in self.received) or None, "goodbye", timeout_s)

    def wait_end(self, timeout_s: float = WAIT_S) -> None:
        assert self.ended.wait(timeout_s), f"the stream did not end within {timeout_s} s"

    # -- the server's side --------------------------------------------------------------------------------------

    def take(self, message: session_pb2.ConnectRequest) -> None:
        with self._changed:
            self.received.append(message)
            self._changed.notify_all()
        if message.HasField("state") and self.echo:
            self.send(echo_sequence=message.state.sequence)

    def read(self, requests: Iterator[session_pb2.ConnectRequest]) -> None:
        try:
            for message in requests:
                self.take(message)
        except grpc.RpcError:
            pass
        self._read_all = True
        self._outgoing.put(None)
        self._fall_silent()

    def serve(self, context: grpc.ServicerContext) -> Iterator[session_pb2.ConnectResponse]:
        try:
            while isinstance(item := self._outgoing.get(), session_pb2.ConnectResponse):
                yield item
            if isinstance(item, WeftError):
                context.abort_with_status(rpc_status.to_status(item.status()))
            if not any(message.goodbye for message in self.received):
                context.abort(grpc.StatusCode.UNAVAILABLE, "dropped by the script")
        finally:
            self.ended.set()
            self._fall_silent()

    def _fall_silent(self) -> None:
        """When both directions have ended."""
        with self._changed:
            self._silent = self._read_all and self.ended.is_set()
            self._changed.notify_all()


class ScriptedCoordinator(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """The server; a context manager."""

    def __init__(self, address: str = "127.0.0.1:0", *, echo: bool = True) -> None:
        self._echo = echo
        self._sessions: SimpleQueue[ScriptedSession] = SimpleQueue()
        self._by_epoch: dict[int, ScriptedSession] = {}
        # Calls beside streams, and how many of them are refused.
        self.reports: list[coordinator_pb2.ReportRequest] = []
        self.refused_reports = 0
        self._epochs = 0
        self._threads = futures.ThreadPoolExecutor(32)
        self._server = grpc.server(self._threads, options=server_options())
        coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(address)
        self.address = f"{address.rpartition(':')[0]}:{port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop(None).wait(WAIT_S)
        self._threads.shutdown(wait=False)

    def accept(self, timeout_s: float = WAIT_S) -> ScriptedSession:
        """The next session that an agent opens."""
        try:
            return self._sessions.get(timeout=timeout_s)
        except Empty:
            raise AssertionError(f"no agent dialled within {timeout_s} s") from None

    def Connect(
        self, request_iterator: Iterator[session_pb2.ConnectRequest], context: grpc.ServicerContext
    ) -> Iterator[session_pb2.ConnectResponse]:
        self._epochs += 1
        session = ScriptedSession(next(request_iterator).hello, self._epochs, echo=self._echo)
        threading.Thread(target=session.read, args=(request_iterator,), daemon=True).start()
        self._by_epoch[session.epoch] = session
        self._sessions.put(session)
        yield from session.serve(context)

    def Report(
        self, request: coordinator_pb2.ReportRequest, context: grpc.ServicerContext
    ) -> coordinator_pb2.ReportResponse:
        self.reports.append(request)
        session = self._by_epoch.get(request.epoch)
        if (
            len(self.reports) <= self.refused_reports
            or session is None
            or session.ended.is_set()
            or session.hello.agent_id != request.agent_id
        ):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this session is not open")
        session.take(request.message)
        return coordinator_pb2.ReportResponse()


def assignment(
    task_id: str,
    method: str,
    request: Message | bytes = b"",
    *,
    attempt: int = 1,
    time_left_s: float | None = None,
    **fields: Any,
) -> session_pb2.Assignment:
    payload = request if isinstance(request, bytes) else request.SerializeToString()
    made = session_pb2.Assignment(task_id=task_id, attempt=attempt, method=method, payload=payload, **fields)
    if time_left_s is not None:
        made.time_left.CopyFrom(duration(time_left_s))
    return made
