"""What a caller, or all callers of a namespace, use of this coordinator now, against their limits. Pure: time is passed in."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from weft.coordinator.caller_limits.rate_bucket import RateBucket
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.caller_limits import CallerLimits, number

# Nobody knows when a call or a task ends: try again after so long.
OPEN_RETRY_S = 0.5
TASKS_RETRY_S = 1.0
Totals = Counter[tuple[str, str]]


class LimitHit(NamedTuple):
    """A limit that is reached, and how long it takes until there may be room."""

    limit: str
    value: float
    wait_s: float


class UseMeter:
    """The use. Holders of a name with the same limits share one.

    Args:
        name: a caller's subject, or a namespace.
        of_namespace: which of these it is.
        totals: what was refused so far to all, by limit, and by whose it is ("caller" or "namespace").
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_calls",
        "_totals",
        "limits",
        "name",
        "of_namespace",
        "open_calls",
        "open_streams",
        "refused",
        "refused_at_s",
    )

    def __init__(
        self,
        name: str,
        limits: CallerLimits,
        now_s: float,
        *,
        of_namespace: bool = False,
        totals: Totals | None = None,
    ) -> None:
        self._totals = Counter() if totals is None else totals
        self.name = name
        self.limits = limits
        self.of_namespace = of_namespace
        self.open_calls = self.open_streams = 0
        # Calls and tasks refused so far, by limit, and when the last one was.
        self.refused: dict[str, int] = {}
        self.refused_at_s = 0.0
        self._calls = RateBucket(limits.calls_per_s, now_s) if limits.calls_per_s else None
        self._bytes = RateBucket(limits.bytes_per_s, now_s) if limits.bytes_per_s else None

    @property
    def measures_bytes(self) -> bool:
        return self._bytes is not None

    def hit(self, now_s: float, *, stream: bool) -> LimitHit | None:
        """The limit at which another call is to be refused. None: there is room."""
        limits = self.limits
        if stream:
            if limits.open_streams and self.open_streams >= limits.open_streams:
                return LimitHit("open_streams", limits.open_streams, OPEN_RETRY_S)
        elif limits.open_calls and self.open_calls >= limits.open_calls:
            return LimitHit("open_calls", limits.open_calls, OPEN_RETRY_S)
        if self._calls is not None and (wait_s := self._calls.wait_s(1.0, now_s)):
            return LimitHit("calls_per_s", limits.calls_per_s, wait_s)
        if wait_s := self.bytes_wait_s(now_s):
            return LimitHit("bytes_per_s", limits.bytes_per_s, wait_s)
        return None

    def refusal(self, hit: LimitHit, now_s: float, count: int = 1) -> WeftError:
        """The error for calls or tasks that a limit refuses. They are counted."""
        self.refused[hit.limit] = self.refused.get(hit.limit, 0) + count
        self.refused_at_s = now_s
        self._totals[hit.limit, "namespace" if self.of_namespace else "caller"] += count
        make = refusals.namespace_limit if self.of_namespace else refusals.caller_limit
        return make(self.name, hit.limit, number(hit.value), hit.wait_s)

    def task_refusal(self, now_s: float, count: int = 1) -> WeftError:
        """The error for tasks that the limit of unfinished tasks refuses. They are counted."""
        hit = LimitHit("queued_tasks", self.limits.queued_tasks, TASKS_RETRY_S)
        return self.refusal(hit, now_s, count)

    def begin(self, now_s: float, *, stream: bool) -> None:
        """A call begins. It ends with `end`."""
        if self._calls is not None:
            self._calls.take(1.0, now_s)
        if stream:
            self.open_streams += 1
        else:
            self.open_calls += 1

    def end(self, *, stream: bool) -> None:
        if stream:
            self.open_streams -= 1
        else:
            self.open_calls -= 1

    def take_bytes(self, count: int, now_s: float) -> None:
        """Bytes have come or gone."""
        if self._bytes is not None:
            self._bytes.take(count, now_s)

    def bytes_wait_s(self, now_s: float) -> float:
        """How long no more bytes are to come."""
        # What is overdrawn must have come in; a message may be larger than the bucket.
        return 0.0 if self._bytes is None else self._bytes.wait_s(0.0, now_s)

    def take_calls(self, most: int, now_s: float) -> int:
        """Take some of so many further calls, tasks of a stream; returns how many there is room for now."""
        return most if self._calls is None else self._calls.take_some(most, now_s)

    def calls_wait_s(self, count: int, now_s: float) -> float:
        """How long it takes until there is room for some of so many further calls: for a tenth of a second's, or all of them."""
        if self._calls is None:
            return 0.0
        return self._calls.wait_s(max(1, min(count, int(self._calls.rate / 10))), now_s)
