"""Keeps an agent connected: dials, and dials again for ever, each target in turn, with jittered backoff.

If one target cannot be reached, the next is tried at once. The connector waits after a broken session, and when no
target could be reached. A source's addresses are those of the moment (`coordinator_turns`); a session stays where it is when its
address goes, and ends with its coordinator. Only a refusal that a repetition cannot change ends the connector; the agent then ends with the
coordinator's message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence

import grpc
from grpc import aio

from weft.agent.session.coordinator_turns import CoordinatorTurns
from weft.agent.session.outbox import Outbox
from weft.agent.session.session_stream import SessionOwner, SessionStream
from weft.agent.session.watchdog import Watchdog
from weft.rpc.errors import WeftError, from_call
from weft.rpc.network.channel import NO_TLS, Route
from weft.rpc.network.connection_faults import explained
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")

FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 1.0
# How often the log mentions a coordinator that stays away.
REMIND_S = 30.0

# Refusals for good; after any other error the agent dials again.
_PERMANENT = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
)


class SessionConnector:
    """Keeps the agent connected, by a task on the event loop. Made there.

    Large because many of its methods only pass the agent's questions and orders on to the present stream, from any thread.

    Args:
        on_refused: called when a coordinator refuses the agent for good.
        route: how coordinators are reached.
    """

    def __init__(
        self,
        targets: Sequence[str],
        agent: SessionOwner,
        outbox: Outbox,
        on_refused: Callable[[WeftError], None],
        *,
        agent_id: str,
        route: Route = NO_TLS,
    ) -> None:
        self._turns = CoordinatorTurns(targets)
        self._agent = agent
        self._outbox = outbox
        self._on_refused = on_refused
        self._route = route = route.named_for(targets)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._ended = threading.Event()
        self._stream: SessionStream | None = None
        self._watchdog = Watchdog(lambda: self._stream, agent_id, route)
        self._quiet_until = 0.0

    # -- from any thread ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        stream = self._stream
        return stream is not None and stream.open

    @property
    def drain_known(self) -> bool:
        """Whether no further assignment can come: the coordinator knows of the drain, or there is no session."""
        stream = self._stream
        return stream is None or not stream.open or stream.drain_known

    @property
    def channel(self) -> aio.Channel | None:
        """Leads to the coordinator that the agent is connected to; None: to none. On the loop."""
        stream = self._stream
        return None if stream is None or not stream.open else stream.channel

    @property
    def addresses(self) -> Sequence[str]:
        """Those of the coordinators, as they are known now."""
        return self._turns.addresses

    def beat(self) -> None:
        """Tell the coordinator the agent's state now, when connected."""
        stream = self._stream
        if stream is not None:
            stream.beat()

    def goodbye(self, timeout_s: float) -> None:
        """Leave for good: say goodbye if connected, and end after `timeout_s` at the latest. Not on the loop."""
        self._post(self._leave)
        self._wait(timeout_s)
        self.stop()

    def stop(self) -> None:
        """End at once. Not on the loop."""
        self._post(self._stop)
        self._wait(MAX_BACKOFF_S)
        self._watchdog.stop()

    def _post(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(call)

    def _wait(self, timeout_s: float) -> None:
        """Wait for the end. Return at once if the loop is blocked: the end would not come."""
        stream = self._stream
        if stream is None or not stream.open or not stream.loop_blocked:
            self._ended.wait(timeout_s)

    # -- on the loop ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._task = self._loop.create_task(self._run(), name="weft-session")
        self._watchdog.start()

    def redial(self, why: str) -> None:
        """Send another Hello, since the last one is out of date."""
        if self._stream is not None:
            self._stream.give_up(why)

    def _leave(self) -> None:
        if self._stream is not None and self._stream.open:
            self._stopped.set()
            self._stream.goodbye()
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.close()
        if self._task is None:
            self._turns.close()
            self._ended.set()

    async def _run(self) -> None:
        try:
            await self._keep_connected()
        finally:
            self._turns.close()
            self._ended.set()

    async def _keep_connected(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        in_vain = 0
        while not self._stopped.is_set():
            dialled_at, welcomed = time.monotonic(), False
            if target := self._turns.take():
                stream = self._stream = SessionStream(target, self._agent, self._outbox, self._route)
                error = await self._serve(stream)
                if error is not None and self._is_final(error):
                    self._refused(target, error)
                    return
                self._tell(target, stream, error)
                welcomed = stream.welcomed
            in_vain = 0 if welcomed else in_vain + 1
            if target and in_vain % max(1, len(self._turns.addresses)):
                continue
            if welcomed and time.monotonic() - dialled_at > MAX_BACKOFF_S:
                backoff_s = FIRST_BACKOFF_S
            # Full jitter: the agents of a lost coordinator must not all come back at the same moment.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.0, backoff_s)):  # noqa: S311 - not for secrets
                    await self._stopped.wait()
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _is_final(self, error: WeftError) -> bool:
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            # A file may get another token.
            return self._route.token is None or not self._route.token.renewable
        return error.code in _PERMANENT

    async def _serve(self, stream: SessionStream) -> WeftError | None:
        """Serve one stream until it ends. Returns the reason, if there was one."""
        try:
            await stream.run()
        except grpc.RpcError as error:
            return from_call(error)
        except WeftError as error:
            # The target cannot be dialled: without TLS, a token stays on this machine.
            return error
        except Exception:
            # A fault of weft. The agent must go on.
            _log.exception("session.failed")
        return None

    def _refused(self, target: str, error: WeftError) -> None:
        self._stopped.set()
        _log.error(
            "session.refused",
            target=target,
            code=error.code.name,
            reason=error.reason_name,
            error=error.message,
        )
        self._on_refused(error)

    def _tell(self, target: str, stream: SessionStream, error: WeftError | None) -> None:
        if self._stopped.is_set():
            return
        why = stream.gave_up or (
            error and f"{error.code.name}: {explained(error.message, self._route.security)}"
        )
        if stream.welcomed:
            self._quiet_until = 0.0
            reason = error.reason_name if error is not None and error.reason else ""
            self._agent.disconnected(reason, str(why or "the connection was lost"))
            _log.warning("session.broken", target=target, error=why, effect="dialling again")
        elif time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + REMIND_S
            if error is not None and error.code is grpc.StatusCode.ALREADY_EXISTS:
                _log.error("session.id_in_use", target=target, error=why, effect="dialling until it is gone")
            else:
                _log.warning("session.unavailable", target=target, error=why, effect="dialling on")
