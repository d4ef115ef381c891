"""A store's figures: what happens to tasks, by method, and how its writes go. Every store counts by the same events.

A task counts where its change was made: with several coordinators on one store, their sum is the store's. What each task passes is
written for speed: an event is an addition in a list, and times are observed a batch at a time.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from weft.coordinator.store.records import Claimed
from weft.rpc.telemetry import coordinator_metrics as metrics
from weft.rpc.telemetry.figures import Figures, Histogram, Labels, sampled_trace
from weft.v1 import task_pb2


class TaskEvent(enum.IntEnum):
    """What can happen to a task. The scripts of the Redis store count by these numbers, which begin above the number of events: so
    msgpack, as Redis has it, never takes counts by event for a list."""

    SUBMITTED = 21
    SUCCEEDED = 24
    FAILED = 25
    CANCELLED = 26
    RETRIED = 27
    RERUN = 28
    ATTEMPT_SUCCEEDED = 31
    ATTEMPT_FAILED = 32
    ATTEMPT_CANCELLED = 33
    ATTEMPT_TIMED_OUT = 34
    ATTEMPT_CRASHED = 35
    ATTEMPT_LOST = 36
    ATTEMPT_RELEASED = 37


# An ended task's event by its state: State.SUCCEEDED and so on.
END_OF_STATE = 20
_OUTCOMES = {event: event.name.lower() for event in TaskEvent if 24 <= event <= 26}
_ATTEMPT = "ATTEMPT_"
_REASONS = {
    event: event.name.removeprefix(_ATTEMPT).lower() for event in TaskEvent if event.name.startswith(_ATTEMPT)
}


class MethodFigures:
    """The figures of one method."""

    __slots__ = ("counts", "run", "wait")

    def __init__(self, wait: Histogram, run: Histogram) -> None:
        # How often each event happened, by TaskEvent.
        self.counts = [0] * (max(TaskEvent) + 1)
        # From ready to claimed; from assigned to reported.
        self.wait = wait
        self.run = run


class StoreFigures:
    """The figures of a store."""

    def __init__(self) -> None:
        figures = self.figures = Figures()
        self._methods: dict[str, MethodFigures] = {}
        figures.ask(metrics.SUBMITTED, lambda: self._of_event(TaskEvent.SUBMITTED))
        figures.ask(metrics.ENDED, lambda: self._of_events(_OUTCOMES))
        figures.ask(metrics.ATTEMPTS, lambda: self._of_events(_REASONS))
        figures.ask(metrics.RETRIED, lambda: self._of_event(TaskEvent.RETRIED))
        figures.ask(metrics.RERUN, lambda: self._of_event(TaskEvent.RERUN))
        self._wait = figures.histograms(metrics.WAIT)
        self._run = figures.histograms(metrics.RUN)
        self.write_s = figures.histogram(metrics.STORE_WRITE)
        self.write_size = figures.histogram(metrics.STORE_BATCH)

    def of(self, method: str) -> MethodFigures:
        """The figures of a method; beyond the bound, of all other methods together."""
        found = self._methods.get(method)
        return found if found is not None else self._make(method)

    def waited(self, batch: Sequence[Claimed], now: float) -> None:
        """Observe how long these claimed tasks were ready."""
        last = batch[-1]
        method, wait, seconds = last.method, self.of(last.method).wait, 0.0
        for claimed in batch:
            if claimed.method != method:
                # Few batches have tasks of several methods.
                method, wait = claimed.method, self.of(claimed.method).wait
            seconds = now - claimed.ready_at
            wait.counts[bisect_left(wait.bounds, seconds)] += 1
            wait.total += seconds
        if last.context:
            # One trace a batch is enough.
            traceparent = task_pb2.CallContext.FromString(last.context).traceparent
            if trace := sampled_trace(traceparent):
                wait.keep_exemplar(seconds, trace)

    def wrote(self, seconds: float, size: int) -> None:
        """Observe one write of the store."""
        self.write_s.observe(seconds)
        self.write_size.observe(size)

    def methods(self) -> Sequence[tuple[str, MethodFigures]]:
        """The figures by method."""
        return list(self._methods.items())

    def _make(self, method: str) -> MethodFigures:
        label = self.figures.names.label(method)
        found = self._methods.get(label)
        if found is None:
            found = self._methods[label] = MethodFigures(self._wait.of(label), self._run.of(label))
        return found

    def add(self, tally: Mapping[bytes, Mapping[int, int]] | bool) -> None:
        """Add events that a script has counted, by method; False: none."""
        if isinstance(tally, bool):
            return
        for method, times_of in tally.items():
            counts = self.of(method.decode()).counts
            for event, times in times_of.items():
                counts[event] += times

    def _of_event(self, event: TaskEvent) -> Iterator[tuple[Labels, float]]:
        for method, figures in list(self._methods.items()):
            yield (method,), figures.counts[event]

    def _of_events(self, names: Mapping[TaskEvent, str]) -> Iterator[tuple[Labels, float]]:
        for method, figures in list(self._methods.items()):
            for event, name in names.items():
                yield (method, name), figures.counts[event]


def observe(histogram: Histogram, seconds: Sequence[float], traced_s: float, traceparent: str) -> None:
    """Observe times of tasks.

    Args:
        traced_s: the time of one of them that has a trace.
        traceparent: its trace; empty: none has one.
    """
    counts, bounds = histogram.counts, histogram.bounds
    for each in seconds:
        counts[bisect_left(bounds, each)] += 1
    histogram.total += sum(seconds)
    if traceparent and (trace := sampled_trace(traceparent)):
        histogram.keep_exemplar(traced_s, trace)


def attempt_event(code: int, *, crashed: bool) -> TaskEvent:
    """The event of an attempt that its agent has reported, by its code."""
    if crashed:
        return TaskEvent.ATTEMPT_CRASHED
    return _BY_CODE.get(code, TaskEvent.ATTEMPT_FAILED)


# google.rpc.Code: OK, CANCELLED, DEADLINE_EXCEEDED.
_BY_CODE = {0: TaskEvent.ATTEMPT_SUCCEEDED, 1: TaskEvent.ATTEMPT_CANCELLED, 4: TaskEvent.ATTEMPT_TIMED_OUT}
