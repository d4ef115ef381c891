"""The servicer of `weft.v1.StatsService`, and the window that it reads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.caller_limits.call_metering import CallMetering
from weft.coordinator.statistics.statistics_window import SLOT_S, WINDOW_S, MethodChange, StatisticsWindow
from weft.coordinator.store.base import Store
from weft.coordinator.store.task_figures import TaskEvent
from weft.rpc.identity.caller import OBSERVER, OPERATOR
from weft.rpc.network.exposure import Exposure
from weft.rpc.telemetry.coordinator_metrics import FINE_TASK_BOUNDS_S
from weft.rpc.telemetry.quantiles import quantile
from weft.rpc.times import checked_duration, duration
from weft.v1 import stats_pb2, stats_pb2_grpc


class StatsService(stats_pb2_grpc.StatsServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, store: Store, coordinator_id: str, exposure: Exposure, metering: CallMetering) -> None:
        self._exposure = exposure
        self._metering = metering
        self._store = store
        self._coordinator_id = coordinator_id
        self._window = StatisticsWindow(time.monotonic())

    def tick(self, now_s: float) -> None:
        """Keep a copy of the store's figures, if it is time.

        Args:
            now_s: by the monotonic clock.
        """
        self._window.tick(now_s, self._store.figures.methods())

    @guard.unary
    async def GetStats(
        self, request: stats_pb2.GetStatsRequest, context: aio.ServicerContext[Any, Any]
    ) -> stats_pb2.GetStatsResponse:
        window_s = WINDOW_S
        if request.HasField("window"):
            window_s = checked_duration(request.window, field="window", least_s=SLOT_S, most_s=WINDOW_S)
        asked = [each for each in self._store.figures.methods() if request.method in {"", each[0]}]
        covered_s, changes = self._window.read(time.monotonic(), window_s, asked)
        return stats_pb2.GetStatsResponse(
            methods=[_stats(method, change) for method, change in sorted(changes, key=lambda each: each[0])],
            coordinator_id=self._coordinator_id,
            covered=duration(covered_s),
            shared_store=self._store.shared,
            insecure_ports=self._exposure.insecure,
            limited=self._limited(context, window_s),
        )

    def _limited(
        self, context: aio.ServicerContext[Any, Any], window_s: float
    ) -> list[stats_pb2.LimitedCaller]:
        caller = self._metering.caller_of(context)
        if caller.role not in (OPERATOR, OBSERVER) or caller.scope.namespaces:
            return []
        return [
            stats_pb2.LimitedCaller(name=each.name, is_namespace=each.of_namespace, refused=each.refused)
            for each in self._metering.limited(window_s)
        ]


def _stats(method: str, change: MethodChange) -> stats_pb2.MethodStats:
    events = change.events
    return stats_pb2.MethodStats(
        method=method,
        submitted=events[TaskEvent.SUBMITTED],
        succeeded=events[TaskEvent.SUCCEEDED],
        failed=events[TaskEvent.FAILED],
        cancelled=events[TaskEvent.CANCELLED],
        retried=events[TaskEvent.RETRIED],
        rerun=events[TaskEvent.RERUN],
        attempts=stats_pb2.AttemptStats(
            succeeded=events[TaskEvent.ATTEMPT_SUCCEEDED],
            failed=events[TaskEvent.ATTEMPT_FAILED],
            cancelled=events[TaskEvent.ATTEMPT_CANCELLED],
            timed_out=events[TaskEvent.ATTEMPT_TIMED_OUT],
            crashed=events[TaskEvent.ATTEMPT_CRASHED],
            lost=events[TaskEvent.ATTEMPT_LOST],
            released=events[TaskEvent.ATTEMPT_RELEASED],
        ),
        wait=_quantiles(change.wait),
        run=_quantiles(change.run),
    )


def _quantiles(counts: Sequence[int]) -> stats_pb2.Quantiles:
    measured = sum(counts)
    if not measured:
        return stats_pb2.Quantiles()
    p50, p90, p99 = (duration(quantile(FINE_TASK_BOUNDS_S, counts, share)) for share in (0.5, 0.9, 0.99))
    return stats_pb2.Quantiles(count=measured, p50=p50, p90=p90, p99=p99)
