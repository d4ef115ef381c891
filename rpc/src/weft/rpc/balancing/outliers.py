"""Outlier ejection: an agent whose calls fail more often than its peers' gets no calls for a while. Pure.

The rules are those of gRFC A50, by `sweep`, and one more: some failures in a row eject at once. A50 needs five peers and a
hundred calls, and an agent that fails quickly would draw most calls before that. After its ejection an agent is on trial: its
first failure ejects it again, its first success ends the trial.

Direct calls (`balancer`) and the attempts of tasks (the coordinator's `attempt_outcomes`) are judged by these functions. Only
faults of the agent count. A handler's own status (NOT_FOUND, INVALID_ARGUMENT, ...) is an answer, not a fault.
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
# Those that make a series. A deadline may have been too short: one impatient caller must not take an agent from the others.
SERIES_FAULTS = FAULTS - {grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass(frozen=True, slots=True)
class OutlierRules:
    """The parameters of gRFC A50, with its defaults, and those of the series."""

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
    # A series: this many failures in a row eject at once.
    series: int = 5
    # The same for an endpoint without a success since the last sweep.
    first_series: int = 3


class Record:
    """The successes and failures at one endpoint since the last sweep, and whether the endpoint is ejected or on trial."""

    __slots__ = ("ejected_at", "failures", "in_a_row", "multiplier", "on_trial", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        # Failures since the last success.
        self.in_a_row = 0
        self.ejected_at: float | None = None
        # How long the ejection lasts, in units of `base_ejection_s`.
        self.multiplier = 0
        # Its ejection is over, and no call has succeeded since.
        self.on_trial = False

    @property
    def ejected(self) -> bool:
        return self.ejected_at is not None

    @property
    def calls(self) -> int:
        return self.successes + self.failures


def succeeded(record: Record, count: int = 1) -> bool:
    """Count successes. True: they end a trial."""
    record.successes += count
    record.in_a_row = 0
    if not record.on_trial:
        return False
    record.on_trial = False
    return True


def failed(record: Record, rules: OutlierRules) -> bool:
    """Count a failure. True: it completes a series, and the endpoint is to be ejected."""
    record.failures += 1
    record.in_a_row += 1
    if record.ejected:
        return False
    enough = rules.series if record.successes else rules.first_series
    return record.on_trial or record.in_a_row >= enough


def eject(record: Record, now: float) -> None:
    record.ejected_at = now
    record.multiplier += 1
    record.on_trial = False


def may_eject(records: Sequence[Record], rules: OutlierRules) -> bool:
    """Whether one more of these may be ejected."""
    return 100.0 * sum(record.ejected for record in records) < rules.max_ejection_percent * len(records)


def ejected_until(record: Record, rules: OutlierRules) -> float | None:
    """When the ejection ends; None: the endpoint is not ejected."""
    if record.ejected_at is None:
        return None
    most_s = max(rules.base_ejection_s, rules.max_ejection_s)
    return record.ejected_at + min(rules.base_ejection_s * record.multiplier, most_s)


def readmit(record: Record, rules: OutlierRules, now: float) -> bool:
    """End the ejection, if its time is over. True: the endpoint is on trial from now on."""
    until = ejected_until(record, rules)
    if until is None or now <= until:
        return False
    record.ejected_at, record.on_trial = None, True
    return True


def sweep(records: Sequence[Record], rules: OutlierRules, now: float, sample: Callable[[], float]) -> int:
    """Eject and readmit endpoints by their counts since the last sweep, and reset the counts. Returns the number of ejections."""
    ejections = _by_success_rate(records, rules, now, sample) + _by_failures(records, rules, now, sample)
    for record in records:
        record.successes = record.failures = 0
        if record.ejected_at is None:
            record.multiplier = max(0, record.multiplier - 1)
        else:
            readmit(record, rules, now)
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
        if not may_eject(records, rules):
            break
        if 100.0 * sample() < enforcement_percent:
            eject(record, now)
            count += 1
    return count
