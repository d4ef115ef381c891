"""Outlier ejection (gRFC A50): an endpoint whose calls fail more than its peers' gets none for a while. Pure.

Only faults of the endpoint count: what a handler says of a request (NOT_FOUND, INVALID_ARGUMENT, ...) is an answer.
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
    # At this share of ejected endpoints no more are; one may always be.
    max_ejection_percent: float = 10.0
    # Success rate: below mean - factor * standard deviation.
    stdev_factor: float = 1.9
    success_min_hosts: int = 5
    success_min_calls: int = 100
    success_enforcement_percent: float = 100.0
    # Failure percentage: at least this share fails.
    failure_percent: float = 85.0
    failure_min_hosts: int = 5
    failure_min_calls: int = 50
    failure_enforcement_percent: float = 100.0


class Record:
    """What one endpoint's calls came to since the last sweep, and whether it is ejected."""

    __slots__ = ("ejected_at", "failures", "multiplier", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.ejected_at: float | None = None
        # How long the next ejection lasts, in base times.
        self.multiplier = 0

    @property
    def ejected(self) -> bool:
        return self.ejected_at is not None

    @property
    def calls(self) -> int:
        return self.successes + self.failures


def sweep(records: Sequence[Record], rules: OutlierRules, now: float, draw: Callable[[], float]) -> int:
    """Eject and let back, by what has been counted since the last sweep; counts anew. Returns how many it ejected."""
    ejections = _by_success_rate(records, rules, now, draw) + _by_failures(records, rules, now, draw)
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
    records: Sequence[Record], rules: OutlierRules, now: float, draw: Callable[[], float]
) -> int:
    enough = [record for record in records if record.calls >= rules.success_min_calls]
    if len(enough) < max(1, rules.success_min_hosts):
        return 0
    rates = [record.successes / record.calls for record in enough]
    least = statistics.fmean(rates) - rules.stdev_factor * statistics.pstdev(rates)
    outliers = [record for record, rate in zip(enough, rates, strict=True) if rate < least]
    return _eject(outliers, records, rules, rules.success_enforcement_percent, now, draw)


def _by_failures(
    records: Sequence[Record], rules: OutlierRules, now: float, draw: Callable[[], float]
) -> int:
    enough = [record for record in records if record.calls >= rules.failure_min_calls]
    if len(enough) < max(1, rules.failure_min_hosts):
        return 0
    outliers = [r for r in enough if 100.0 * r.failures / r.calls >= rules.failure_percent]
    return _eject(outliers, records, rules, rules.failure_enforcement_percent, now, draw)


def _eject(
    outliers: Sequence[Record],
    records: Sequence[Record],
    rules: OutlierRules,
    enforcement_percent: float,
    now: float,
    draw: Callable[[], float],
) -> int:
    count = 0
    for record in outliers:
        if record.ejected:
            continue
        if 100.0 * sum(r.ejected for r in records) / len(records) >= rules.max_ejection_percent:
            break
        if 100.0 * draw() < enforcement_percent:
            record.ejected_at = now
            record.multiplier += 1
            count += 1
    return count
