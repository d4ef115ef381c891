"""Measures subjects in turns, in small blocks, so that other load on the machine affects all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from weft.cli.bench.bench_subject import BenchSubject

_WARM_UP_CALLS = 100
_WARM_UP_BURST = 2000
_LEAST_BURST = 200
_BLOCK_S = 0.2


@dataclass(frozen=True, slots=True)
class Effort:
    """The time for each subject, in seconds. On a busy machine there are fewer samples, not a longer run."""

    # For single calls.
    calls_s: float
    # For each burst of tasks, about.
    burst_s: float
    bursts: int
    # For each burst of calls. Calls reach full speed sooner than tasks, and their rate varies more.
    call_burst_s: float
    call_bursts: int


QUICK = Effort(calls_s=2.0, burst_s=0.7, bursts=3, call_burst_s=0.2, call_bursts=11)
THOROUGH = Effort(calls_s=20.0, burst_s=4.0, bursts=7, call_burst_s=0.5, call_bursts=41)


@dataclass(slots=True)
class Sample:
    """The measurements of one subject."""

    subject: BenchSubject
    latencies_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    # The plain call of the same group.
    plain: Sample | None = None
    # CPU time of each process by name, in microseconds for each call of a burst.
    cpu_us: dict[str, list[float]] = field(default_factory=dict)

    def latency_ms(self, quantile: float) -> float:
        return quantile_of(self.latencies_s, quantile) * 1e3

    @property
    def ratio(self) -> float:
        """Its median latency divided by that of the plain call."""
        return self.latency_ms(0.5) / (self.plain or self).latency_ms(0.5)

    @property
    def rate_ratio(self) -> float | None:
        """Its rate divided by that of the plain call; None if it counts tasks."""
        plain = self.plain or self
        return self.rate_per_s / plain.rate_per_s if self.subject.counts_calls else None

    @property
    def rate_per_s(self) -> float:
        """The median of the bursts, so that a disturbed burst does not count."""
        return statistics.median(self.rates)


def quantile_of(values: Sequence[float], quantile: float) -> float:
    """The quantile of the values, by nearest rank."""
    return sorted(values)[max(0, math.ceil(quantile * len(values)) - 1)]


async def measure(
    subjects: Sequence[BenchSubject], effort: Effort, progressed: Callable[[str], None]
) -> list[Sample]:
    """Warm up, then measure single calls, then bursts, each subject in turn. The first subject is the plain call."""
    samples = [Sample(subject) for subject in subjects]
    for sample in samples:
        sample.plain = samples[0]
    warm_rates: list[float] = []
    for subject in subjects:
        progressed(f"{subject.title}: warming up")
        for _ in range(_WARM_UP_CALLS):
            await subject.call()
        warm_rates.append(await _burst(subject, _WARM_UP_BURST))
    progressed("measuring single calls")
    for _ in range(round(effort.calls_s / _BLOCK_S)):
        for sample in samples:
            await _block(sample)
    for of_calls, burst_s, bursts in (
        (True, effort.call_burst_s, effort.call_bursts),
        (False, effort.burst_s, effort.bursts),
    ):
        turns = [
            (sample, max(_LEAST_BURST, round(rate * burst_s)))
            for sample, rate in zip(samples, warm_rates, strict=True)
            if sample.subject.counts_calls is of_calls
        ]
        if of_calls and len(turns) == 1:
            # The plain call alone: no rate is compared with its rate.
            continue
        for number in range(bursts):
            progressed(f"measuring bursts of {'calls' if of_calls else 'tasks'}, {number + 1} of {bursts}")
            for sample, size in turns:
                await _measured_burst(sample, size)
    return samples


async def _measured_burst(sample: Sample, size: int) -> None:
    before_s = _cpu_s(sample.subject)
    sample.rates.append(await _burst(sample.subject, size))
    for name, used_s in _cpu_s(sample.subject).items():
        sample.cpu_us.setdefault(name, []).append((used_s - before_s[name]) / size * 1e6)


def _cpu_s(subject: BenchSubject) -> dict[str, float]:
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in subject.processes.items()}


async def _burst(subject: BenchSubject, size: int) -> float:
    """Make so many calls at once. Returns their rate."""
    began = time.perf_counter()
    await subject.burst(size)
    return size / (time.perf_counter() - began)


async def _block(sample: Sample) -> None:
    # The first call after a pause is slower (caches, sleeping cores): it is not counted.
    await sample.subject.call()
    ends_at = time.perf_counter() + _BLOCK_S
    while (began := time.perf_counter()) < ends_at:
        await sample.subject.call()
        sample.latencies_s.append(time.perf_counter() - began)
