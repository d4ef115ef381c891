"""Keeps an agent connected: dials, and dials again for ever, each target in turn, with jittered backoff.

Another target is tried at once when one cannot be had; there are waits after a session that broke, and when all have been
tried in vain. Each agent has an order of its own, so that those of a lost coordinator spread over the others.

Only a refusal that a repetition cannot change ends it: the coordinator's words are then the agent's last.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence

import grpc
import structlog

from weft.agent.outbox import Outbox
from weft.agent.stream import Agent, Stream
from weft.rpc.errors import WeftError, from_call

_log = structlog.get_logger("weft.agent")

FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 1.0
# A coordinator that stays away is mentioned this often.
REMIND_S = 30.0

# What a coordinator refuses for good; anything else may be otherwise next time.
_PERMANENT = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


class Session:
    """The thread that keeps the agent connected.

    Args:
        on_refused: called from the session's thread when a coordinator refuses the agent for good.
    """

    def __init__(
        self, targets: Sequence[str], agent: Agent, outbox: Outbox, on_refused: Callable[[WeftError], None]
    ) -> None:
        self._targets = random.sample(targets, len(targets))
        self._agent = agent
        self._outbox = outbox
        self._on_refused = on_refused
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name="weft-session", daemon=True)
        self._quiet_until = 0.0

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        stream = self._stream
        return stream is not None and stream.open

    @property
    def drain_known(self) -> bool:
        """Whether no coordinator will assign anything any more: it knows of the drain, or there is no session."""
        stream = self._stream
        return stream is None or not stream.open or stream.drain_known

    def start(self) -> None:
        self._thread.start()

    def beat(self) -> None:
        """Tell the coordinator the agent's state now, when connected."""
        stream = self._stream
        if stream is not None:
            stream.beat()

    def redial(self, why: str) -> None:
        """Say hello again: what was said is not so any more."""
        stream = self._stream
        if stream is not None:
            stream.give_up(why)

    def goodbye(self, timeout_s: float) -> None:
        """Leave for good: say so when connected, and end, at the latest when `timeout_s` have passed."""
        with self._lock:
            self._stopped.set()
            stream = self._stream
        if stream is not None and stream.open:
            stream.goodbye()
            self._thread.join(timeout_s)
        self.stop()

    def stop(self) -> None:
        """End at once."""
        with self._lock:
            self._stopped.set()
            stream = self._stream
        if stream is not None:
            stream.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(MAX_BACKOFF_S)

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        in_vain = 0
        for target in itertools.cycle(self._targets):
            if self._stopped.is_set():
                return
            stream = Stream(target, self._agent, self._outbox)
            with self._lock:
                if self._stopped.is_set():
                    stream.close()
                self._stream = stream
            dialled_at = time.monotonic()
            error = self._serve(stream)
            if error is not None and error.code in _PERMANENT:
                self._refused(target, error)
                return
            self._tell(target, stream, error)
            in_vain = 0 if stream.welcomed else in_vain + 1
            if in_vain % len(self._targets):
                continue
            if stream.welcomed and time.monotonic() - dialled_at > MAX_BACKOFF_S:
                backoff_s = FIRST_BACKOFF_S
            # Full jitter: a fleet that lost its coordinator must not come back as one.
            self._stopped.wait(random.uniform(0.0, backoff_s))  # noqa: S311 - not for secrets
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _serve(self, stream: Stream) -> WeftError | None:
        """Serve one stream until it ends; gives the reason, if there was one."""
        try:
            stream.run()
        except grpc.RpcError as error:
            return from_call(error)
        except Exception:
            # A fault of weft; the agent must go on all the same.
            _log.exception("the session failed")
        return None

    def _refused(self, target: str, error: WeftError) -> None:
        self._stopped.set()
        _log.error(
            "the coordinator refuses this agent",
            target=target,
            code=error.code.name,
            reason=error.reason_name,
            says=error.message,
        )
        self._on_refused(error)

    def _tell(self, target: str, stream: Stream, error: WeftError | None) -> None:
        if self._stopped.is_set():
            return
        says = stream.gave_up or (error and f"{error.code.name}: {error.message}")
        if stream.welcomed:
            self._quiet_until = 0.0
            _log.warning("the session broke: dialling again", target=target, says=says)
        elif time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + REMIND_S
            if error is not None and error.code is grpc.StatusCode.ALREADY_EXISTS:
                _log.error("another process has this agent's id: dialling until it is gone", says=says)
            else:
                _log.warning("no session with the coordinator yet: dialling on", target=target, says=says)
