"""The figures of one mesh: the numbers that its parts keep, put together for the edges that export them.

What happens to tasks is counted by the store, and calls are timed by `weft.rpc.telemetry.call_figures`. Everything else is asked for when it
is read. Queues need a look from time to time, because a shared store must be asked for their depths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.dispatch.queue_forecast import QueueForecast
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.store.base import Store
from weft.coordinator.store.queue_depths import together
from weft.coordinator.store.records import QueueDepth
from weft.rpc.balancing.balancer import Balancer
from weft.rpc.balancing.balancer_figures import ask_balancers
from weft.rpc.calls.admission import Admission
from weft.rpc.telemetry import coordinator_metrics as metrics
from weft.rpc.telemetry.figures import Figures, Labels


class CountedParts(NamedTuple):
    """The parts of a mesh that keep numbers."""

    store: Store
    register: AgentRegister
    sessions: Sessions
    subscriptions: TaskSubscriptions
    submissions: SubmissionService
    calls: Admission
    forecast: QueueForecast
    balancer: Balancer


class MeshFigures:
    """The figures of one mesh.

    Args:
        max_methods: methods with figures of their own.
    """

    def __init__(self, max_methods: int) -> None:
        self.figures = Figures(max_methods)
        self.passes = self.figures.histogram(metrics.PASSES)
        self._leases_lost = self.figures.counter(metrics.LEASES_LOST)
        self._queues: Mapping[str, QueueDepth] = {}
        # Queued tasks by method, of queues whose tasks no agent takes.
        self._without_agent: Mapping[str, int] = {}

    def lease_lost(self) -> None:
        self._leases_lost.add()

    def ask(self, parts: CountedParts) -> None:
        """Ask these parts at each reading."""
        store, register, sessions, subscriptions, submissions, calls, forecast, balancer = parts
        self._store, self._register, self._calls = store, register, calls
        figures = self.figures
        figures.include(store.figures.figures)
        figures.ask(metrics.STALE, lambda: sessions.results_refused)
        figures.ask(metrics.QUEUE, self._depths)
        figures.ask(metrics.OLDEST, self._ages)
        figures.ask(metrics.UNFINISHED, store.unfinished)
        figures.ask(metrics.SESSIONS, lambda: len(list(sessions.all())))
        figures.ask(metrics.SLOTS, lambda: _slots(sessions))
        figures.ask(metrics.FAILING, lambda: sum(each.outcomes.failing for each in list(sessions.all())))
        figures.ask(metrics.WRITABLE, lambda: int(store.writable))
        figures.ask(metrics.WATCHERS, lambda: subscriptions.follower_count)
        figures.ask(metrics.CALLS, lambda: calls.calls)

        def limits_hit() -> Iterator[tuple[Labels, float]]:
            yield ("calls",), calls.refused
            yield ("queue_wait",), forecast.refused
            yield ("watchers",), subscriptions.refused
            for limit, times in submissions.limits_hit.items():
                yield (limit,), times

        figures.ask(metrics.LIMITS_HIT, limits_hit)
        if submissions.sticky is not None:
            changes = submissions.sticky.changes
            figures.ask(
                metrics.STICKY_SESSIONS, lambda: (((change,), times) for change, times in changes.items())
            )
        ask_balancers(figures, lambda: (balancer,))

    @property
    def calls_in_flight(self) -> int:
        """Calls of hosted methods that are under way."""
        return self._calls.calls

    async def look(self) -> None:
        """Look at the queues."""
        found: dict[str, QueueDepth] = {}
        without_agent: Counter[str] = Counter()
        # Those of one method, with different requirements, together.
        for key, depth in (await self._store.depths()).items():
            label = self.figures.names.label(key.method)
            known = found.get(label)
            found[label] = depth if known is None else together(known, depth)
            if depth.queued and not self._register.can_run(key):
                without_agent[label] += depth.queued
        # A method whose queue has become empty has 0 tasks from now on.
        self._queues = dict.fromkeys(self._queues, QueueDepth()) | found
        self._without_agent = without_agent

    def _depths(self) -> Iterator[tuple[Labels, float]]:
        for method, depth in self._queues.items():
            yield (method, "queued"), depth.queued
            yield (method, "limited"), depth.limited
            yield (method, "without_agent"), self._without_agent.get(method, 0)
            yield (method, "scheduled"), depth.scheduled
            yield (method, "running"), depth.running

    def _ages(self) -> Iterator[tuple[Labels, float]]:
        now = self._store.now()
        for method, depth in self._queues.items():
            yield (method,), 0.0 if depth.oldest_at is None else max(0.0, now - depth.oldest_at)


def _slots(sessions: Sessions) -> Iterator[tuple[Labels, float]]:
    used = free = 0
    for session in list(sessions.all()):
        used += session.busy_slots
        free += max(0, session.slots - session.busy_slots)
    yield ("used",), used
    yield ("free",), free
