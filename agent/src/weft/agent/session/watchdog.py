"""Reports for the agent while its event loop is blocked: a thread that no handler can block.

The session lives on the loop where handlers run. If a handler blocks the loop, the agent must not lose its session:
other agents would get the same work. So when heartbeats are late, this thread sends them, each by a call of its own
(`CoordinatorService.Report`), with the waiting results and releases. A C call that holds the GIL for seconds stops this
thread too: use `isolate=True` for such handlers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc

from weft.agent.session.session_stream import SessionStream
from weft.rpc.network.channel import NO_TLS, Route, client_options, dial_blocking
from weft.rpc.process.logs import get_logger
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc

_log = get_logger("weft.agent")

CALL_TIMEOUT_S = 2.0
_LOOK_S = 0.5
# Several coordinators may be behind one target, and each dial may reach another one. Only one has the session.
_DIALS = 8


class Watchdog:
    """The thread.

    Args:
        stream: returns the present stream, if any.
        agent_id: whose session it is.
        route: how the coordinator is reached.
    """

    def __init__(
        self, stream: Callable[[], SessionStream | None], agent_id: str, route: Route = NO_TLS
    ) -> None:
        self._stream = stream
        self._route = route
        self._agent_id = agent_id
        self._stopped = threading.Event()
        self._channel: grpc.Channel | None = None
        self._thread = threading.Thread(target=self._run, name="weft-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, without waiting for it. From any thread."""
        self._stopped.set()

    def _run(self) -> None:
        look_s = _LOOK_S
        try:
            while not self._stopped.wait(look_s):
                stream = self._stream()
                look_s = _LOOK_S if stream is None else min(_LOOK_S, stream.interval_s / 2)
                if stream is None or not stream.open or not stream.loop_blocked:
                    self._hang_up()
                    continue
                try:
                    self._speak(stream)
                except Exception:
                    # A fault of weft. The next report may work.
                    _log.exception("session.report_failed")
        finally:
            self._hang_up()

    def _speak(self, stream: SessionStream) -> None:
        message = stream.out_of_band()
        request = coordinator_pb2.ReportRequest(
            agent_id=self._agent_id, epoch=stream.epoch, message=message, report_key=stream.report_key
        )
        for _ in range(_DIALS):
            answer = self._call(stream.target, request)
            if isinstance(answer, coordinator_pb2.ReportResponse):
                stream.arrived(message, answer)
                return
            self._hang_up()
            if answer is not grpc.StatusCode.FAILED_PRECONDITION:
                break
        stream.failed(message)

    def _call(
        self, target: str, request: coordinator_pb2.ReportRequest
    ) -> coordinator_pb2.ReportResponse | grpc.StatusCode:
        """The answer, or the code of a failure."""
        if self._channel is None:
            self._channel = dial_blocking(target, client_options(own_connection=True), self._route)
        try:
            response: coordinator_pb2.ReportResponse = coordinator_pb2_grpc.CoordinatorServiceStub(
                self._channel
            ).Report(request, timeout=CALL_TIMEOUT_S, metadata=self._route.caller_metadata(target))
        except grpc.RpcError as error:
            _log.debug("session.report_failed", error=str(error))
            return error.code()
        return response

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
