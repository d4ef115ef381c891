"""Figures of a process: counters, gauges and histograms, kept as plain numbers and read by the edges that export them.

    a part of the program ─► Counter, Histogram: an addition         a part's own numbers ◄─ asked at each reading
                                    └──────────► Figures.read ◄──────────────┘
                                                 ├─► exposition.py: a scrape by Prometheus
                                                 └─► OTLP

The hot path resolves labels once, and keeps the counter: an addition costs some 50 ns, an observation some 250. All may be read from
any thread: a reading may miss an addition that is under way, and never fails for it.

Label sets are bounded here. A label's values are names in weft's own code, or methods. Of methods, `max_methods` have figures of
their own, the first ones; all others share the name OTHER. No value of a caller is ever a label.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Generic, Literal, NamedTuple, TypeVar

# The name of methods beyond the bound, and of those that nobody hosts, as in OpenTelemetry's conventions.
OTHER = "_OTHER"
# Methods with figures of their own, unless a setting says otherwise.
MAX_METHODS = 500

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]
# An exemplar: the observed value, its trace's and span's ids with a hyphen between, and when, in seconds since the epoch.
Exemplar = tuple[float, str, float]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is.

    Args:
        name: as in OpenTelemetry's conventions: "weft.tasks.ended".
        unit: by UCUM: "s", "By", "1" for a share, or what is counted, in braces: "{task}".
        text: one sentence.
        labels: names of its labels, as in OpenTelemetry's conventions.
        bounds: upper bounds of a histogram's buckets.
        counted: finer upper bounds, `bounds` among them: what is counted, for quantiles. Empty: `bounds`.
    """

    name: str
    kind: Kind
    unit: str
    text: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    counted: tuple[float, ...] = ()


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, by: float = 1) -> None:
        self.value += by

    def read(self) -> float:
        return self.value


# Each bucket names every 16th trace: naming one takes longer than all else.
_PASSED_OVER = 15


class Histogram:
    """How many observations fell into each bucket, and their sum.

    Args:
        bounds: upper bounds of the buckets that are counted.
        exported: those of the buckets that are read, a part of `bounds`. Empty: all.
    """

    __slots__ = ("_exported", "_left", "bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...], exported: tuple[float, ...] = ()) -> None:
        self.bounds = bounds
        self._exported = exported or bounds
        # The last one: above all bounds.
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        # The last exemplar of each exported bucket, by its index; made with the first one.
        self.exemplars: dict[int, Exemplar] | None = None
        # By counted bucket: traces that are passed over until the next one is named.
        self._left: dict[int, int] | None = None

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_traced(self, value: float, traceparent: str) -> None:
        """As `observe`, of something that has a trace. If that is sampled, it becomes an exemplar, unless the bucket has named one of
        the last 16."""
        at = bisect_left(self.bounds, value)
        self.counts[at] += 1
        self.total += value
        if self._left is None:
            self._left = {}
        if left := self._left.get(at, 0):
            self._left[at] = left - 1
        elif trace := sampled_trace(traceparent):
            self._left[at] = _PASSED_OVER
            self.keep_exemplar(value, trace)

    def keep_exemplar(self, value: float, trace: str) -> None:
        """Name a trace for a value that was observed."""
        if self.exemplars is None:
            self.exemplars = {}
        self.exemplars[bisect_left(self._exported, value)] = (value, trace, time.time())

    def read(self) -> HistogramPoint:
        return HistogramPoint(self._exported_counts(), self.total, dict(self.exemplars or {}))

    def _exported_counts(self) -> list[int]:
        counts = list(self.counts)
        if self._exported is self.bounds:
            return counts
        ends = [0, *(bisect_left(self.bounds, bound) + 1 for bound in self._exported), len(counts)]
        return [sum(counts[begin:end]) for begin, end in pairwise(ends)]


class HistogramPoint(NamedTuple):
    """What a histogram held when it was read."""

    counts: Sequence[int]
    total: float
    exemplars: Mapping[int, Exemplar]


Instrument = TypeVar("Instrument", Counter, Histogram)
NumberPoints = Iterable[tuple[Labels, float]]
# Asked at each reading: a number, or one for each set of label values.
Ask = Callable[[], float | NumberPoints]


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric, read: by label values a number, or what a histogram holds."""

    spec: MetricSpec
    points: Sequence[tuple[Labels, float | HistogramPoint]]


class Family(Generic[Instrument]):
    """The counters, or histograms, of one metric by their label values.

    Args:
        most: sets of label values; those beyond share one, whose first label is OTHER.
    """

    def __init__(self, spec: MetricSpec, make: Callable[[], Instrument], most: int) -> None:
        self.spec = spec
        self._make: Callable[[], Instrument] = make
        self._most = most
        self._members: dict[Labels, Instrument] = {}

    def of(self, *labels: str) -> Instrument:
        """The instrument for these label values. Keep it where that is cheaper."""
        found = self._members.get(labels)
        if found is None:
            if len(self._members) >= self._most:
                labels = (OTHER, *labels[1:])
                if (found := self._members.get(labels)) is not None:
                    return found
            found = self._members[labels] = self._make()
        return found

    def read(self) -> Reading:
        return Reading(self.spec, [(labels, each.read()) for labels, each in list(self._members.items())])


# The last digit of the flags of a sampled trace.
_SAMPLED = frozenset("13579bdf")


def sampled_trace(traceparent: str) -> str:
    """The ids of the trace and of the span, with a hyphen between, if it is sampled; empty: it is not, or there is none."""
    return traceparent[3:52] if traceparent and traceparent[-1] in _SAMPLED else ""


class MethodNames:
    """The methods with figures of their own."""

    def __init__(self, most: int = MAX_METHODS) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, method: str) -> str:
        """The label for a method: its name, or OTHER beyond the bound."""
        if method in self._known:
            return method
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(method)
        return method


class Figures:
    """The metrics of a process, or of a part of it.

    Args:
        max_methods: methods with figures of their own.
    """

    def __init__(self, max_methods: int = MAX_METHODS) -> None:
        self.names = MethodNames(max_methods)
        # Numbers that could not be asked for.
        self.failures = 0
        self._families: list[Family[Counter] | Family[Histogram]] = []
        self._asked: list[tuple[MetricSpec, Ask]] = []
        # Parts, and the labels that their metrics get.
        self._parts: list[tuple[Figures, Mapping[str, str]]] = []

    def counters(self, spec: MetricSpec, most: int = 10_000) -> Family[Counter]:
        """A metric's counters by label values, at most about so many."""
        family = Family(spec, Counter, most)
        self._families.append(family)
        return family

    def counter(self, spec: MetricSpec) -> Counter:
        """The counter of a metric without labels."""
        return self.counters(spec).of()

    def histograms(self, spec: MetricSpec, most: int = 10_000) -> Family[Histogram]:
        """A metric's histograms by label values, at most about so many."""
        family = Family(spec, lambda: Histogram(spec.counted or spec.bounds, spec.bounds), most)
        self._families.append(family)
        return family

    def histogram(self, spec: MetricSpec) -> Histogram:
        """The histogram of a metric without labels."""
        return self.histograms(spec).of()

    def ask(self, spec: MetricSpec, ask: Ask) -> None:
        """A counter or gauge whose numbers are kept elsewhere. `ask` is called from any thread: it must be quick, and only read. If
        it raises, the metric is left out of that reading."""
        self._asked.append((spec, ask))

    def include(self, part: Figures, labels: Mapping[str, str] | None = None) -> None:
        """Read the figures of a part, too, with these labels. Both have the same bound on methods. The part must have none yet."""
        part.share(self.names)
        self._parts.append((part, labels or {}))

    def exclude(self, part: Figures) -> None:
        """Do not read the figures of a part any more."""
        self._parts = [each for each in self._parts if each[0] is not part]

    def share(self, names: MethodNames) -> None:
        """Let others say which methods have figures of their own, also in the parts."""
        self.names = names
        for part, _ in self._parts:
            part.share(names)

    def follow(self, part: Figures) -> None:
        """Read the figures of this part, and no more those of the one before, which has ended."""
        part.share(self.names)
        self._parts = [(part, {})]

    def read(self) -> Iterator[Reading]:
        """Each metric with its present numbers. From any thread."""
        for family in self._families:
            yield family.read()
        for spec, ask in self._asked:
            try:
                found = ask()
                numbers = [((), float(found))] if isinstance(found, int | float) else list(found)
            except Exception:
                # Most likely a part that has just been closed. The next reading tries again.
                self.failures += 1
                continue
            yield Reading(spec, numbers)
        for part, labels in list(self._parts):
            readings = part.read()
            yield from (map(partial(_labelled, labels), readings) if labels else readings)


def _labelled(labels: Mapping[str, str], reading: Reading) -> Reading:
    spec = replace(reading.spec, labels=(*reading.spec.labels, *labels))
    return Reading(spec, [((*each, *labels.values()), point) for each, point in reading.points])
