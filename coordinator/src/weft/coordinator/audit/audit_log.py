"""The audit of one coordinator: what is recorded becomes a chain of events, and goes to each place that keeps them.

a change, a denied call ─┬─ the first ones of its caller ─────────────► an event ──┐
                         └─ the others ────────┐                                   ├─► the chain ─► store, file, OpenTelemetry
a frequent call ───────────────────────────────┴─ counted for a minute ─► an event ┘
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from weft.coordinator.audit.audit_counts import FactCounts
from weft.coordinator.audit.audit_event import AuditFact, Chain, Details
from weft.coordinator.audit.audit_sink import AuditSink

# Counts become events so often.
PERIOD_S = 60.0
# Events of one caller that are recorded one by one: so many at once, and so many more a minute. Then they are counted.
CHANGES, CHANGES_LATER = 100, 20
DENIALS, DENIALS_LATER = 10, 1
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
        self.sinks = tuple(sinks)
        self.on = bool(sinks)
        self.chain = Chain(f"{name} {int(time.time() * 1e6):x}")
        self._frequent = FactCounts(lambda fact: fact)
        self._changes = FactCounts(lambda fact: (fact.action, fact.code, fact.reason), CHANGES, CHANGES_LATER)
        self._denials = FactCounts(lambda fact: fact.reason, DENIALS, DENIALS_LATER)
        self._turn_at_s = 0.0
        # Events so far.
        self.recorded = 0
        # What happened before it began. None: it has begun.
        self._early: list[AuditFact] | None = []

    def record(self, fact: AuditFact, count: int = 1) -> None:
        """Record an event, in any case."""
        if not self.on:
            return
        if self._early is not None:
            self._early.append(fact)
            return
        record = self.chain.add(fact, count, self._now())
        self.recorded += 1
        for sink in self.sinks:
            sink.add(record)

    def change(self, fact: AuditFact) -> None:
        """Record a call that changes something."""
        if self.on and self._changes.take(fact):
            self.record(fact)

    def denied(self, fact: AuditFact) -> None:
        """Record a denied call."""
        if self.on and self._denials.take(fact):
            self.record(fact)

    def count(self, fact: AuditFact, count: int = 1) -> None:
        """Count something frequent."""
        if self.on:
            self._frequent.take(fact, count)

    def tick(self, now_s: float) -> None:
        """Turn counts into events, if it is time.

        Args:
            now_s: monotonic time.
        """
        if now_s >= self._turn_at_s:
            if self._turn_at_s:
                self._turn()
            self._turn_at_s = now_s + PERIOD_S

    def _turn(self) -> None:
        for counts in (self._changes, self._denials, self._frequent):
            for fact, count in counts.turn():
                self.record(fact, count)

    @property
    def lost(self) -> int:
        """Events that some place never got."""
        return sum(sink.lost for sink in self.sinks)

    @property
    def faults(self) -> list[str]:
        """Why it cannot be written now, for each place where that is so."""
        return [f"{sink.name}: {sink.fault}" for sink in self.sinks if sink.fault]

    def start(self, details: Details = ()) -> None:
        """Begin.

        Args:
            details: how the coordinator checks its callers.
        """
        for sink in self.sinks:
            sink.start()
        early, self._early = self._early, None
        for fact in (AuditFact("coordinator.started", details=details), *(early or ())):
            self.record(fact)

    async def stop(self) -> None:
        """Write what has not been written, within some seconds."""
        if not self.on or self._early is not None:
            return
        self._turn()
        self.record(AuditFact("coordinator.stopped"))
        for sink in self.sinks:
            await sink.stop(STOP_S)
