"""The audit of one coordinator: what is recorded becomes a chain of events, and goes to each place that keeps them.

a change ────────────────────────────────────────────► an event ──┐
a frequent call ── counted ── at the minute's end ───► an event ──┼─► the chain ─► store, file, OpenTelemetry
a denied call ──── the first at once, then counted ──► an event ──┘
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from weft.coordinator.audit.audit_event import AuditFact, Chain
from weft.coordinator.audit.audit_sink import AuditSink

# Counts become events so often.
PERIOD_S = 60.0
# Different callers, methods and outcomes that are counted apart in a period; all others share one count.
MAX_COUNTED = 4096
OTHER = "_OTHER"
STOP_S = 3.0


class AuditLog:
    """The audit. Never raises, and never waits.

    Args:
        name: of the coordinator.
        now: wall-clock time.
        sinks: where the events go; none: nothing is recorded.
    """

    def __init__(self, name: str, now: Callable[[], float], sinks: Sequence[AuditSink] = ()) -> None:
        self._now = now
        self._sinks = tuple(sinks)
        self.on = bool(sinks)
        self.chain = Chain(f"{name} {int(time.time() * 1e6):x}")
        self._counts: dict[AuditFact, int] = {}
        self._turn_at_s = 0.0
        # Events so far.
        self.recorded = 0

    def record(self, fact: AuditFact, count: int = 1) -> None:
        """Record an event."""
        if not self.on:
            return
        record = self.chain.add(fact, count, self._now())
        self.recorded += 1
        for sink in self._sinks:
            sink.add(record)

    def count(self, fact: AuditFact, count: int = 1) -> None:
        """Count something frequent."""
        counts = self._counts
        if fact not in counts and len(counts) >= MAX_COUNTED:
            fact = AuditFact(OTHER, code=fact.code)
        counts[fact] = counts.get(fact, 0) + count

    def denied(self, fact: AuditFact) -> None:
        """Record a denied call; those like it are counted until the period ends."""
        if not self.on:
            return
        if fact in self._counts or len(self._counts) >= MAX_COUNTED:
            self.count(fact)
        else:
            self._counts[fact] = 0
            self.record(fact)

    def tick(self, now_s: float) -> None:
        """Turn counts into events, if the period has ended.

        Args:
            now_s: monotonic time.
        """
        if self._counts and now_s >= self._turn_at_s:
            if self._turn_at_s:
                self._turn()
            self._turn_at_s = now_s + PERIOD_S

    def _turn(self) -> None:
        counts, self._counts = self._counts, {}
        for fact, count in counts.items():
            if count:
                self.record(fact, count)

    @property
    def lost(self) -> int:
        """Events that some place never got."""
        return sum(sink.lost for sink in self._sinks)

    @property
    def faults(self) -> list[str]:
        """Why it cannot be written now, for each place where that is so."""
        return [f"{sink.name}: {sink.fault}" for sink in self._sinks if sink.fault]

    def start(self) -> None:
        for sink in self._sinks:
            sink.start()
        self.record(AuditFact("coordinator.started"))

    async def stop(self) -> None:
        """Write what has not been written, within some seconds."""
        if not self.on:
            return
        self._turn()
        self.record(AuditFact("coordinator.stopped"))
        for sink in self._sinks:
            await sink.stop(STOP_S)
