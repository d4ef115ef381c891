"""Statistics by method of the last minutes, as one coordinator counted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.client.api import Api
from weft.client.methods import Method
from weft.rpc.times import duration, seconds
from weft.v1 import stats_pb2

_GET = Method.of("weft.v1.StatsService/GetStats", stats_pb2.GetStatsRequest, stats_pb2.GetStatsResponse)


@dataclass(frozen=True, slots=True)
class Times:
    """Quantiles of times, in seconds, within about a tenth. None: nothing was measured."""

    count: int
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None

    @classmethod
    def of(cls, proto: stats_pb2.Quantiles) -> Times:
        if not proto.count:
            return cls(0, None, None, None)
        return cls(proto.count, seconds(proto.p50), seconds(proto.p90), seconds(proto.p99))


@dataclass(frozen=True, slots=True)
class AttemptCounts:
    """Attempts that ended, by why."""

    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    # Their process died.
    crashed: int
    # Their agent was lost.
    lost: int
    # Given back without having been started.
    released: int

    @classmethod
    def of(cls, proto: stats_pb2.AttemptStats) -> AttemptCounts:
        return cls(
            proto.succeeded,
            proto.failed,
            proto.cancelled,
            proto.timed_out,
            proto.crashed,
            proto.lost,
            proto.released,
        )

    @property
    def error_share(self) -> float:
        """The share of attempts that failed, timed out, crashed or were lost. Cancelled and released ones are no errors."""
        errors = self.failed + self.timed_out + self.crashed + self.lost
        return errors / (errors + self.succeeded) if errors else 0.0


@dataclass(frozen=True, slots=True)
class MethodStats:
    """What happened to the tasks of one method. "_OTHER" stands for all methods that the coordinator does not tell apart."""

    method: str
    # Tasks that were stored, and tasks that ended.
    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    # Queued again: after a failed attempt; after a crashed or lost one.
    retried: int
    rerun: int
    attempts: AttemptCounts
    # From ready to claimed; from the assignment of an attempt to its report.
    wait: Times
    run: Times

    @classmethod
    def of(cls, proto: stats_pb2.MethodStats) -> MethodStats:
        return cls(
            method=proto.method,
            submitted=proto.submitted,
            succeeded=proto.succeeded,
            failed=proto.failed,
            cancelled=proto.cancelled,
            retried=proto.retried,
            rerun=proto.rerun,
            attempts=AttemptCounts.of(proto.attempts),
            wait=Times.of(proto.wait),
            run=Times.of(proto.run),
        )

    @property
    def ended(self) -> int:
        """Tasks that ended."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def error_share(self) -> float:
        """The share of tasks that failed. Cancelled ones are no errors."""
        return self.failed / (self.failed + self.succeeded) if self.failed else 0.0


@dataclass(frozen=True, slots=True)
class LimitedCaller:
    """A caller, or all callers of a namespace together, that were refused something at their limits."""

    # The caller's subject, such as "token:shop", or the namespace.
    name: str
    is_namespace: bool
    # Refused calls and tasks by limit, such as "calls_per_s".
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CoordinatorStats:
    """The statistics of one coordinator."""

    # By name; methods to which something happened.
    methods: Sequence[MethodStats]
    coordinator_id: str
    # The time that the numbers cover.
    covered_s: float
    # Other coordinators may use the same store: they have their own numbers.
    shared_store: bool
    # Its ports that are open to other machines without TLS or a check of callers: one line for each.
    insecure_ports: Sequence[str] = ()
    # Who has reached limits lately; for operators and observers.
    limited: Sequence[LimitedCaller] = ()

    @classmethod
    def of(cls, proto: stats_pb2.GetStatsResponse) -> CoordinatorStats:
        return cls(
            methods=tuple(map(MethodStats.of, proto.methods)),
            coordinator_id=proto.coordinator_id,
            # Rates are counts divided by it.
            covered_s=max(seconds(proto.covered), 0.001),
            shared_store=proto.shared_store,
            insecure_ports=tuple(proto.insecure_ports),
            limited=tuple(
                LimitedCaller(each.name, each.is_namespace, dict(each.refused)) for each in proto.limited
            ),
        )


async def stats_of(api: Api, method: str, window_s: float) -> CoordinatorStats:
    """Ask a coordinator for its statistics."""
    request = stats_pb2.GetStatsRequest(method=method, window=duration(window_s))
    return CoordinatorStats.of(await api.call(_GET, request))
