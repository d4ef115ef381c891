"""Measuring subjects side by side: in turns, in small blocks, so that whatever else the machine does hits all."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from weft.cli.bench.subject import Subject

_WARM_UP_CALLS = 100
_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    # How many times each subject's `calls` are made.
    calls: int
    # How many bursts each subject gets.
    bursts: int


QUICK = Effort(calls=1, bursts=3)
THOROUGH = Effort(calls=5, bursts=9)


@dataclass(slots=True)
class Sample:
    """What was measured of one subject."""

    subject: Subject
    latencies_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def latency_ms(self, quantile: float) -> float:
        return quantile_of(self.latencies_s, quantile) * 1e3

    @property
    def rate_per_s(self) -> float:
        """The median of the bursts: a burst that something disturbed does not count."""
        return statistics.median(self.rates)


def quantile_of(values: Sequence[float], quantile: float) -> float:
    """The value that at least this share of the values does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(quantile * len(values)) - 1)]


async def measure(
    subjects: Sequence[Subject], effort: Effort, progressed: Callable[[str], None]
) -> list[Sample]:
    """Warm up, then calls one after another, then bursts, each subject in its turn."""
    samples = [Sample(subject) for subject in subjects]
    progressed("warming up")
    for subject in subjects:
        for _ in range(_WARM_UP_CALLS):
            await subject.call()
        await subject.burst(subject.burst_size // 4)
    progressed("one call after another")
    for _ in range(_BLOCKS):
        for sample in samples:
            await _block(sample, sample.subject.calls * effort.calls // _BLOCKS)
    for number in range(effort.bursts):
        for sample in samples:
            progressed(f"{sample.subject.title}: burst {number + 1} of {effort.bursts}")
            began = time.perf_counter()
            await sample.subject.burst(sample.subject.burst_size)
            sample.rates.append(sample.subject.burst_size / (time.perf_counter() - began))
    return samples


async def _block(sample: Sample, calls: int) -> None:
    # The first call after a pause pays for caches and sleeping cores: it is made and not counted.
    await sample.subject.call()
    for _ in range(calls):
        began = time.perf_counter()
        await sample.subject.call()
        sample.latencies_s.append(time.perf_counter() - began)
