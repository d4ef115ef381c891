"""The deadline budget: what a call that is made while another one is handled inherits from that one.

    caller ── 10 s ──► handler of A ── what is left of the 10 s, same root id, same trace ──► handler of B

Whoever runs a handler says so with `enter`; every channel of weft asks here what goes along with a call. A call that is
made outside a handler inherits nothing. Nothing here does I/O; the clock is read in `timeout_s` alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from weft.rpc.calls import tracing

ROOT_ID_KEY = "weft-root-id"
PARENT_ID_KEY = "weft-parent-id"
# Ids are the store's or a caller's own; both are short.
MAX_ID_CHARS = 128

Pairs = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a handled call leaves to the calls that are made from it."""

    # Id of the task or call at the root of the tree; empty: unknown.
    root_id: str
    # Id of the call that is being handled.
    parent_id: str
    # By this process' monotonic clock; None: no limit.
    deadline_at: float | None = None
    # W3C headers, for when no span is active.
    traceparent: str = ""
    tracestate: str = ""

    def bounded_s(self, timeout_s: float | None, now_s: float) -> float | None:
        """A child call's timeout: its own, and at most what is left here. Never negative."""
        if self.deadline_at is None:
            return timeout_s
        left_s = max(0.0, self.deadline_at - now_s)
        return left_s if timeout_s is None else min(timeout_s, left_s)

    def added_to(self, given: Iterable[tuple[str, str | bytes]], active: dict[str, str]) -> Pairs:
        """A child call's metadata: what it was given, which wins, then the ids and the trace.

        Args:
            given: the caller's own entries.
            active: the active span's W3C headers; empty: no span is active.
        """
        own = tuple(given)
        added = {ROOT_ID_KEY: self.root_id, PARENT_ID_KEY: self.parent_id}
        added |= active or {"traceparent": self.traceparent, "tracestate": self.tracestate}
        keys = {key for key, _ in own}
        if "traceparent" in keys:
            # The two belong together.
            added.pop("tracestate", None)
        return own + tuple((key, value) for key, value in added.items() if value and key not in keys)


class HandledCall(Protocol):
    """A call that is being handled. Asked only when a call is made from it: most handlers make none."""

    def child_context(self) -> CallContext:
        """What it leaves to calls that are made now."""
        ...


_handled: ContextVar[HandledCall] = ContextVar("weft_handled_call")


def enter(call: HandledCall) -> None:
    """This call is being handled, in the current contextvars context and its children."""
    _handled.set(call)


def handled() -> HandledCall | None:
    """The call that is being handled here; None: none is."""
    return _handled.get(None)


def current() -> CallContext | None:
    """What the call that is being handled here leaves; None: none is."""
    call = _handled.get(None)
    return None if call is None else call.child_context()


def timeout_s(own_s: float | None) -> float | None:
    """The timeout of a call that is made here and now."""
    budget = current()
    return own_s if budget is None else budget.bounded_s(own_s, time.monotonic())


def metadata(own: Any) -> Any:
    """The metadata of a call that is made here and now: pairs, a `grpc.aio.Metadata`, or None, as grpc takes them."""
    budget = current()
    return own if budget is None else budget.added_to(own or (), tracing.current())
