"""The statistics of the last minutes, by method: what a store's figures say now, less what they said then. Pure; time is passed in.

The figures only grow, and count each task anyway: statistics cost a task nothing. Every SLOT_S a copy of them is kept, of methods without a
change the copy before. With 85 buckets a histogram, a copy of one method takes 1.5 kB: 45 kB for a method that is always busy,
23 MB for 500 of them.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from weft.coordinator.store.task_figures import MethodFigures, TaskEvent

SLOT_S = 10.0
WINDOW_S = 300.0

# What is copied: these events, then the counts of both histograms.
_EVENTS = tuple(TaskEvent)
_Copies = Mapping[str, "array[int]"]


@dataclass(frozen=True, slots=True)
class MethodChange:
    """What happened to the tasks of one method.

    Args:
        wait, run: times by bucket.
    """

    events: Mapping[TaskEvent, int]
    wait: Sequence[int]
    run: Sequence[int]


class StatisticsWindow:
    """Keeps copies of figures.

    Args:
        now_s: when the figures were 0, by the monotonic clock.
    """

    def __init__(self, now_s: float) -> None:
        self._slots: deque[tuple[float, _Copies]] = deque([(now_s, {})], maxlen=int(WINDOW_S / SLOT_S) + 1)

    def tick(self, now_s: float, methods: Iterable[tuple[str, MethodFigures]]) -> None:
        """Keep a copy, if it is time. Call it once a second or so."""
        kept_s, kept = self._slots[-1]
        if now_s - kept_s >= SLOT_S:
            self._slots.append((now_s, {name: _copy(figures, kept.get(name)) for name, figures in methods}))

    def read(
        self, now_s: float, window_s: float, methods: Iterable[tuple[str, MethodFigures]]
    ) -> tuple[float, Iterator[tuple[str, MethodChange]]]:
        """The time that is covered, in seconds; and the methods to which something happened in it."""
        since_s, since = self._slots[0]
        for at_s, copies in self._slots:
            if at_s > now_s - window_s:
                break
            since_s, since = at_s, copies
        return now_s - since_s, _changes(since, methods)


def _copy(figures: MethodFigures, kept: array[int] | None) -> array[int]:
    """A copy of the figures; the one that is kept, if nothing has changed."""
    counts = figures.counts
    copy = array("Q", [counts[event] for event in _EVENTS])
    copy.extend(figures.wait.counts)
    copy.extend(figures.run.counts)
    return kept if kept is not None and kept == copy else copy


def _changes(
    since: _Copies, methods: Iterable[tuple[str, MethodFigures]]
) -> Iterator[tuple[str, MethodChange]]:
    for name, figures in methods:
        then, now = since.get(name), _copy(figures, None)
        if then == now:
            continue
        change = now if then is None else [b - a for a, b in zip(then, now, strict=True)]
        if not any(change):
            continue
        wait_at = len(_EVENTS)
        run_at = wait_at + len(figures.wait.counts)
        events = dict(zip(_EVENTS, change[:wait_at], strict=True))
        yield name, MethodChange(events, change[wait_at:run_at], change[run_at:])
