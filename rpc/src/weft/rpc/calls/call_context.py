"""The call context: the deadline, ids and trace that a call inherits from the call whose handler makes it.

    caller ── 10 s ──► handler of A ── the rest of the 10 s, same root id, same trace ──► handler of B

The code that runs a handler calls `enter`. Every channel of weft adds the current call context to its calls. A call that is made
outside a handler inherits nothing. No I/O; only `timeout_s` reads the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from weft.rpc.process import log_context
from weft.rpc.telemetry import trace_headers

ROOT_ID_KEY = "weft-root-id"
PARENT_ID_KEY = "weft-parent-id"
# A budget of a task above (`calls/tree_budgets.py`).
TREE_BUDGET_KEY = "weft-tree-budget-bin"
# The most characters of an id. Ids come from the store or from a caller; both are short.
MAX_ID_CHARS = 128

Pairs = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class CallContext:
    """The values that a handled call passes to the calls of its handler."""

    # Id of the task or call at the root of the tree. Empty: unknown.
    root_id: str
    # Id of the handled call.
    parent_id: str
    # The deadline by this process' monotonic clock. None: no limit.
    deadline_at: float | None = None
    # W3C headers, used when no span is active.
    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""
    # The budgets of the handled task and of the tasks above it, each a serialized `weft.v1.TreeBudget`.
    budgets: tuple[bytes, ...] = ()

    def bounded_s(self, timeout_s: float | None, now_s: float) -> float | None:
        """A child call's timeout: its own, but at most the time left until this deadline. Never negative."""
        if self.deadline_at is None:
            return timeout_s
        left_s = max(0.0, self.deadline_at - now_s)
        return left_s if timeout_s is None else min(timeout_s, left_s)

    def trace_headers(self) -> dict[str, str]:
        """The trace of the handled call as W3C headers."""
        return {"traceparent": self.traceparent, "tracestate": self.tracestate, "baggage": self.baggage}

    def added_to(self, given: Iterable[tuple[str, str | bytes]], active: dict[str, str]) -> Pairs:
        """A child call's metadata: its own entries, then the ids and the trace. Own entries win.

        Args:
            given: the call's own entries.
            active: the active span's W3C headers. Empty: no span is active.
        """
        ids = {ROOT_ID_KEY: self.root_id, PARENT_ID_KEY: self.parent_id}
        made = _with(given, ids | (active or self.trace_headers()))
        if self.budgets and not any(key == TREE_BUDGET_KEY for key, _ in made):
            made += tuple((TREE_BUDGET_KEY, each) for each in self.budgets)
        return made


class HandledCall(Protocol):
    """A call that is being handled. Its context is made only when its handler makes a call: most handlers make none."""

    def child_context(self) -> CallContext:
        """The call context of calls that the handler makes now."""
        ...

    def log_fields(self) -> Mapping[str, str | int]:
        """The fields of log lines about the call: task, attempt, method and agent."""
        ...

    def call_steps(self, *, asked: bool = False) -> CallSteps | None:
        """Its steps; None: it has none so far, and its handler's calls are not remembered.

        Args:
            asked: make them; None: it is a direct call.
        """
        ...


class CallSteps(Protocol):
    """The steps of a handled call: they give the handler's calls names, and know which of them are under way."""

    def name_of(self, method: str, metadata: Any) -> Pairs:
        """What to add to the metadata of a call, so that it is remembered; empty: it is not, or has what it needs."""
        ...

    def follow(self, call: Any) -> Any:
        """Know that a call is under way; returns it."""
        ...

    async def wait_call(self, name: str, ended: Any) -> None:
        """Wait for the end of a remembered call that is followed, and end the handler if it only waits.

        Args:
            ended: a future of the loop.
        """
        ...


_handled: ContextVar[HandledCall] = ContextVar("weft_handled_call")


def enter(call: HandledCall) -> None:
    """Make this call the handled one, in the current contextvars context and its children."""
    _handled.set(call)


def handled() -> HandledCall | None:
    """The call that is being handled here. None: there is none."""
    return _handled.get(None)


def log_fields() -> Mapping[str, str | int]:
    """The fields of lines that are logged here: those of the call that is being handled, and of its caller's trace. Empty: there
    is none."""
    call = _handled.get(None)
    if call is None:
        return {}
    return {**call.log_fields(), **log_context.trace_fields(call.child_context().traceparent)}


log_context.add_source(log_fields)


def steps(*, asked: bool = False) -> CallSteps | None:
    """The steps of the call that is being handled here. None: it has none so far, and its handler's calls are not remembered.

    Args:
        asked: make them, if the call may have some.
    """
    call = _handled.get(None)
    return None if call is None else call.call_steps(asked=asked)


def current() -> CallContext | None:
    """The call context of the call that is being handled here. None: there is none."""
    call = _handled.get(None)
    return None if call is None else call.child_context()


def timeout_s(own_s: float | None) -> float | None:
    """The timeout of a call that is made here and now."""
    inherited = current()
    return own_s if inherited is None else inherited.bounded_s(own_s, time.monotonic())


def metadata(own: Any, active: dict[str, str] | None = None) -> Any:
    """The metadata of a call that is made here and now: pairs, a `grpc.aio.Metadata`, or None, as grpc takes them.

    Args:
        active: W3C headers of the call's own span; None: those of the active span.
    """
    inherited = current()
    headers = trace_headers.current() if active is None else active
    if inherited is None:
        return _with(own or (), headers) if headers else own
    return inherited.added_to(own or (), headers)


def _with(given: Iterable[tuple[str, str | bytes]], added: dict[str, str]) -> Pairs:
    own = tuple(given)
    keys = {key for key, _ in own}
    if "traceparent" in keys:
        # A tracestate belongs to its own traceparent.
        added.pop("tracestate", None)
    return own + tuple((key, value) for key, value in added.items() if value and key not in keys)
