"""Outlier ejection (gRFC A50): an endpoint whose calls fail more often than its peers' gets no calls for a while. Pure.

Only faults of the endpoint count. A handler's own status (NOT_FOUND, INVALID_ARGUMENT, ...) is an answer, not a fault.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


@dataclass(frozen=True, slots=True)
class OutlierRules:
    """The parameters of gRFC A50, with its defaults."""

    interval_s: float = 10.0
    base_ejection_s: float = 30.0
    max_ejection_s: float = 300.0
    # When this share of endpoints is ejected, no more are. One may always be ejected.
    max_ejection_percent: float = 10.0
    # Success rate: an endpoint is an outlier below mean - factor * standard deviation.
    stdev_factor: float = 1.9
    success_min_hosts: int = 5
    success_min_calls: int = 100
    success_enforcement_percent: float = 100.0
    # Failure percentage: an endpoint is an outlier if at least this share of its calls fails.
    failure_percent: float = 85.0
    failure_min_hosts: int = 5
    failure_min_calls: int = 50
    failure_enforcement_percent: float = 100.0


class Record:
    """The successes and failures at one endpoint since the last sweep, and whether the endpoint is ejected."""

    __slots__ = ("ejected_at", "failures", "multiplier", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.ejected_at: float | None = None
        # How long the ejection lasts, in units of `base_ejection_s`.
        self.multiplier = 0

    @property
    def ejected(self) -> bool:
        return self.ejected_at is not None

    @property
    def calls(self) -> int:
        return self.successes + self.failures


def sweep(records: Sequence[Record], rules: OutlierRules, now: float, sample: Callable[[], float]) -> int:
    """Eject and readmit endpoints by their counts since the last sweep, and reset the counts. Returns the number of ejections."""
    ejections = _by_success_rate(records, rules, now, sample) + _by_failures(records, rules, now, sample)
    for record in records:
        record.successes = record.failures = 0
        if record.ejected_at is None:
            record.multiplier = max(0, record.multiplier - 1)
            continue
        most_s = max(rules.base_ejection_s, rules.max_ejection_s)
        if now > record.ejected_at + min(rules.base_ejection_s * record.multiplier, most_s):
            record.ejected_at = None
    return ejections


def _by_success_rate(
    records: Sequence[Record], rules: OutlierRules, now: float, sample: Callable[[], float]
) -> int:
    enough = [record for record in records if record.calls >= rules.success_min_calls]
    if len(enough) < max(1, rules.success_min_hosts):
        return 0
    rates = [record.successes / record.calls for record in enough]
    least = statistics.fmean(rates) - rules.stdev_factor * statistics.pstdev(rates)
    outliers = [record for record, rate in zip(enough, rates, strict=True) if rate < least]
    return _eject(outliers, records, rules, rules.success_enforcement_percent, now, sample)


def _by_failures(
    records: Sequence[Record], rules: OutlierRules, now: float, sample: Callable[[], float]
) -> int:
    enough = [record for record in records if record.calls >= rules.failure_min_calls]
    if len(enough) < max(1, rules.failure_min_hosts):
        return 0
    outliers = [r for r in enough if 100.0 * r.failures / r.calls >= rules.failure_percent]
    return _eject(outliers, records, rules, rules.failure_enforcement_percent, now, sample)


def _eject(
    outliers: Sequence[Record],
    records: Sequence[Record],
    rules: OutlierRules,
    enforcement_percent: float,
    now: float,
    sample: Callable[[], float],
) -> int:
    count = 0
    for record in outliers:
        if record.ejected:
            continue
        if 100.0 * sum(r.ejected for r in records) / len(records) >= rules.max_ejection_percent:
            break
        if 100.0 * sample() < enforcement_percent:
            record.ejected_at = now
            record.multiplier += 1
            count += 1
    return count
