"""Says whether the task of a waiting call can start in time. A call that cannot is refused at once: a task that starts when its
caller's deadline is near takes a slot, and its result is for nobody.

    call ──► tasks ahead of it ÷ pace of its flow = its wait ──► too long for its deadline: refused
                                    ▲
             its own wait, once it started: (tasks that were ahead + 1) ÷ wait

A flow has the calls of one queue, priority and fairness key. So a flow learns what it gets beside the others: a higher priority waits little
however long the queue is, and a tenant that asks for little does not pay for one that asks for much. Nobody needs to know how many slots
there are, or who else submits where. Pure: time is passed in, in seconds by one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from weft.coordinator.store.rules import QueueKey

# The part of a call's time that it may wait. The rest is for what the forecast does not know: a pause of the agents, or of this
# process, takes as much from each call that waits already.
WAIT_SHARE = 0.5
# A flow is measured for so long before calls are refused: what came in a moment is let through, since its first waits tell little.
LEARN_S = 0.5
# Without a start for so long, what is known of a flow is of the past.
FORGET_S = 30.0
# An earlier wait counts by this factor for each later one, so that some 64 count.
KEEP = 1 - 1 / 64
RUN_KEEP = 1 - 1 / 16
MAX_FLOWS = 1024
MIN_RETRY_S, MAX_RETRY_S = 0.1, 30.0


class FlowKey(NamedTuple):
    """The calls that wait in one line."""

    queue: QueueKey
    priority: int
    fairness_key: str


class TooLate(NamedTuple):
    """Why a call cannot start in time."""

    ahead: int
    wait_s: float
    left_s: float
    retry_after_s: float


class Flow:
    """How fast the calls of one line start."""

    __slots__ = ("ahead", "first_at_s", "last_at_s", "wait_s")

    def __init__(self, now_s: float) -> None:
        # Sums over the last calls that started: the tasks ahead of them and themselves, and how long they waited.
        self.ahead = 0.0
        self.wait_s = 0.0
        # When the first of them started; None: none has. When a call last joined or started.
        self.first_at_s: float | None = None
        self.last_at_s = now_s

    def learn(self, ahead: int, wait_s: float, now_s: float) -> None:
        """A call started that had so many tasks ahead of it."""
        self.ahead = self.ahead * KEEP + ahead + 1
        self.wait_s = self.wait_s * KEEP + max(wait_s, 1e-6)
        self.last_at_s = now_s
        if self.first_at_s is None:
            self.first_at_s = now_s

    def wait_of(self, ahead: int, now_s: float) -> float | None:
        """How long a call waits that has so many tasks ahead of it; None: too little is known."""
        if self.first_at_s is None or now_s - self.first_at_s < LEARN_S:
            return None
        return (ahead + 1) * self.wait_s / self.ahead


class _Place:
    """A waiting call."""

    __slots__ = ("ahead", "at_s", "flow", "queue", "started")

    def __init__(self, flow: Flow, queue: QueueKey, ahead: int, at_s: float) -> None:
        self.flow, self.queue, self.ahead, self.at_s = flow, queue, ahead, at_s
        self.started = False


class QueueForecast:
    """The flows of one mesh, as far as its calls had to wait."""

    def __init__(self) -> None:
        self.flows: dict[FlowKey, Flow] = {}
        # Waiting and running calls of the flows, by task id.
        self.places: dict[str, _Place] = {}
        self.refused = 0
        # When a call of a queue last started, and how long attempts take, by method.
        self._moved_at_s: dict[QueueKey, float] = {}
        self._run_s: dict[str, float] = {}

    def join(
        self, task_id: str, key: FlowKey, ahead: int, left_s: float | None, now_s: float
    ) -> TooLate | None:
        """A call joins its flow; TooLate: it does not, because it cannot start in time.

        Args:
            ahead: ready tasks that start before it.
            left_s: the time after which nobody waits for it. None: its caller waits as long as it takes.
        """
        flow = self.flows.get(key)
        if flow is not None and now_s - flow.last_at_s > FORGET_S:
            del self.flows[key]
            flow = None
        if flow is None:
            if not ahead:
                # As in any queue that does not fill: there is nothing to learn.
                return None
            flow = self._begin(key, now_s)
        elif ahead and left_s is not None:
            wait_s, allowed_s = flow.wait_of(ahead, now_s), self._allowed_s(key.queue.method, left_s)
            if wait_s is not None and wait_s > allowed_s:
                retry_s = min(MAX_RETRY_S, max(MIN_RETRY_S, wait_s - allowed_s))
                return TooLate(ahead, wait_s, left_s, retry_s)
        flow.last_at_s = now_s
        self.places[task_id] = _Place(flow, key.queue, ahead, now_s)
        return None

    def _allowed_s(self, method: str, left_s: float) -> float:
        """How long a call may wait: its attempt takes time, too. Where attempts take very different times, half is left for the wait."""
        return WAIT_SHARE * (left_s - min(self._run_s.get(method, 0.0), left_s / 2))

    def _begin(self, key: FlowKey, now_s: float) -> Flow:
        if len(self.flows) >= MAX_FLOWS:
            self.flows = {
                each: flow for each, flow in self.flows.items() if now_s - flow.last_at_s < FORGET_S
            }
            if len(self.flows) >= MAX_FLOWS:
                self.flows.clear()
            self._moved_at_s.clear()
            self._run_s.clear()
        flow = self.flows[key] = Flow(now_s)
        return flow

    def started(self, task_ids: Iterable[str], now_s: float) -> None:
        """Attempts began. Tasks that have no waiting call here are none of its."""
        places = self.places
        for task_id in task_ids:
            place = places.get(task_id)
            if place is not None and not place.started:
                place.started = True
                self._moved(place, now_s - place.at_s, now_s)

    def _moved(self, place: _Place, wait_s: float, now_s: float) -> None:
        place.flow.learn(place.ahead, wait_s, now_s)
        self._moved_at_s[place.queue] = now_s

    def ended(self, task_id: str, wait_s: float | None, run_s: float | None, now_s: float) -> None:
        """The task of a call ended.

        Args:
            wait_s: how long it was ready before its attempt began, if it began at another coordinator's agent.
            run_s: how long its attempt took. None: it had several, or none.
        """
        place = self.places.pop(task_id, None)
        if place is None:
            return
        if not place.started and wait_s is not None:
            self._moved(place, wait_s, now_s)
        if run_s is not None:
            method = place.queue.method
            known_s = self._run_s.get(method, run_s)
            self._run_s[method] = known_s * RUN_KEEP + run_s * (1 - RUN_KEEP)

    def late(self, task_id: str, now_s: float) -> None:
        """The deadline of a call passed while it waited."""
        place = self.places.pop(task_id, None)
        if place is None or place.started:
            return
        # A queue that did not move has no agent now: calls may wait for one as they always do.
        if self._moved_at_s.get(place.queue, 0.0) > place.at_s:
            place.flow.learn(place.ahead, now_s - place.at_s, now_s)

    def left(self, task_id: str) -> None:
        """A call does not wait any more, for a reason that tells nothing of its queue."""
        self.places.pop(task_id, None)
