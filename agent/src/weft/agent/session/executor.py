"""Runs durable attempts: decides when each assignment starts, and runs it as a handler run.

Attempts wait here for slots, by priority. Lives on the application's event loop and is called there only, except where a
method says "from any thread". An outcome goes into the outbox at once, from the thread in which the handler ran.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from google.rpc import code_pb2

from weft.agent.agent_figures import AgentFigures
from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_run import HandlerRun, Runner
from weft.agent.handlers.keyed_state import change_of
from weft.agent.handlers.runners import Runners
from weft.agent.handlers.slots import Slots
from weft.agent.handlers.used_units import put_units, take_trailers
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.hosting.payload_checks import ResponseTooLarge
from weft.agent.session.attempt import HeldAttempt, Ref
from weft.agent.session.outbox import Outbox
from weft.rpc.network.channel import MAX_PAYLOAD_BYTES
from weft.rpc.telemetry import traces
from weft.v1 import keyed_state_pb2, task_pb2


class CancelRequest(NamedTuple):
    """A request to end an attempt."""

    ref: Ref
    reason: str
    grace_s: float


class AttemptRun(HandlerRun):
    """A durable attempt's run: its responses and its outcome go into the outbox."""

    direct = False
    # Cancelled because the agent stops: the attempt is released, not reported as cancelled.
    interrupted = False
    # When its handler began, by the monotonic clock; None: it has not.
    began_s: float | None = None
    # Set when the outbox has room for a response. A handler in a thread has it after its first response.
    room: threading.Event | None = None

    def __init__(
        self, executor: Executor, attempt: HeldAttempt, hosted: HostedMethod, runner: Runner
    ) -> None:
        assignment = attempt.assignment
        self.executor = executor
        self.attempt = attempt
        self.hosted = hosted
        self.runner = runner
        self.context = runner.context_type(assignment, executor.agent_id, attempt.deadline_at)
        self.context.state_limit_bytes = executor.max_state_bytes
        traced = executor.tracing or assignment.context.traceparent
        self.span = traces.processing(assignment, executor.agent_id) if traced else None

    @property
    def limit_bytes(self) -> int:
        return self.executor.max_response_bytes

    @property
    def tells_errors(self) -> bool:  # type: ignore[override]
        return self.executor.show_errors

    async def send(self, response: bytes) -> None:
        self._check_size(response)
        room = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended
                self.runner.loop.call_soon_threadsafe(room.set)

        while not self._send(response, wake):
            await room.wait()
            room.clear()

    def send_blocking(self, response: bytes) -> bool:
        self._check_size(response)
        room = self.room
        if room is None:
            room = self.room = threading.Event()
            self.context.add_callback(room.set)
        while not self._send(response, room.set):
            if not self.context.is_active():
                return False
            room.wait()
            room.clear()
        return True

    def _send(self, response: bytes, on_room: Callable[[], None]) -> bool:
        return self.executor.outbox.send_progress(self.attempt, response, on_room, self.context.sent_headers)

    def _check_size(self, response: bytes) -> None:
        if len(response) > self.executor.max_response_bytes:
            raise ResponseTooLarge(outcomes.too_large(len(response), self.executor.max_response_bytes))

    def report(self, outcome: task_pb2.Outcome, *, crashed: bool = False) -> None:
        executor = self.executor
        if self.interrupted and (crashed or outcome.status.code == code_pb2.CANCELLED):
            executor.release(self.attempt)
            return
        if self.context.used_units:
            put_units(outcome, self.context)
        if outcome.trailers:
            take_trailers(outcome)
        state = change_of(self.context) if self.context.keyed_state is not None else None
        executor.report(self.attempt, outcome, crashed=crashed, began_s=self.began_s, state=state)

    def answer(self, outcome: task_pb2.Outcome) -> None:
        self.report(outcome)

    def gone(self) -> None:
        self.executor.gone(self)

    def withdraw(self) -> None:
        self.executor.withdraw(self)


class Executor:
    """Runs assignments within the agent's slots.

    Large because it has methods for the session (`handle`), for runs (`report`, `gone`, `withdraw`), and for the agent's end.

    Args:
        slots: shared with direct calls.
        figures: where the ends of attempts are counted.
        resources: the amounts that the agent has declared.
    """

    def __init__(
        self,
        methods: Mapping[str, HostedMethod],
        slots: Slots,
        outbox: Outbox,
        agent_id: str,
        runners: Runners,
        figures: AgentFigures,
        resources: Mapping[str, float],
    ) -> None:
        self._figures = figures
        self._resources = resources
        self.outbox = outbox
        self.agent_id = agent_id
        # From Welcome; written by the session.
        self.max_response_bytes = MAX_PAYLOAD_BYTES
        self.max_state_bytes = 0
        # Whether spans are made here, when the newest message came.
        self.tracing = False
        # Whether operators see the exceptions of handlers.
        self.show_errors = True
        self._methods = methods
        self._slots = slots
        self._runners = runners
        # Services that are down: their attempts are released.
        self._unavailable: frozenset[str] = frozenset()
        self._runs: dict[Ref, AttemptRun] = {}
        # (-priority, order of arrival, run); a run that is over is skipped.
        self._heap: list[tuple[int, int, AttemptRun]] = []
        self._arrivals = 0
        # Attempts whose end somebody waits for, and who is told of it.
        self.awaited: Collection[Ref] = ()
        self.on_gone: Callable[[Ref], None] = lambda _: None
        # Every new assignment is released: for good when the agent stops, or while the desired state asks for it.
        self._stopping = False
        self._holding_back = False

    def runs(self, ref: Ref) -> bool:
        """Whether an attempt runs, or waits for a slot. From any thread."""
        return ref in self._runs

    def began_s(self, task_id: str, attempt: int) -> float | None:
        """When the handler of an attempt began, by the monotonic clock. None: none of it runs. From any thread."""
        run = self._runs.get((task_id, attempt))
        return None if run is None else run.began_s

    def running_async(self) -> list[str]:
        """Methods whose handlers run on the loop now. From any thread; a moment's inaccuracy is harmless."""
        return [each.hosted.name for each in list(self._runs.values()) if each.task is not None]

    @property
    def stuck_slots(self) -> int:
        """Slots of handlers that still run although their attempts are over. From any thread."""
        return sum(run.hosted.slot_cost for run in self._stuck())

    @property
    def stuck_resources(self) -> dict[str, float]:
        """Amounts of resources that those handlers use. From any thread."""
        return in_use(run.attempt.assignment.consumes for run in self._stuck())

    def _stuck(self) -> list[AttemptRun]:
        return [run for run in list(self._runs.values()) if run.started and run.attempt.ended]

    # -- the session's ------------------------------------------------------------------------------------------

    def handle(self, assigned: Sequence[HeldAttempt], cancellations: Sequence[CancelRequest]) -> None:
        """Handle the assignments and cancellations of one message."""
        self.tracing = traces.tracing()
        now_s = time.monotonic()
        for attempt in assigned:
            self._accept(attempt, now_s)
        for cancellation in cancellations:
            run = self._runs.get(cancellation.ref)
            if run is not None:
                run.cancel(cancellation.reason, cancellation.grace_s)

    def _accept(self, attempt: HeldAttempt, now_s: float) -> None:
        assignment = attempt.assignment
        method = assignment.method
        if self._stopping or self._holding_back or (self._unavailable and self._is_unavailable(method)):
            self.release(attempt)
            return
        if assignment.consumes and not self._fits(assignment.consumes):
            # A handler that has overrun uses them still, which the coordinator did not know. The state that goes out with this says it.
            self.release(attempt)
            return
        hosted = self._methods.get(method)
        if hosted is None:
            self.report(attempt, outcomes.not_hosted(method))
            return
        if hosted.request_streaming:
            self.report(attempt, outcomes.not_durable(method))
            return
        deadline_at = attempt.deadline_at
        if deadline_at is not None and deadline_at <= now_s:
            self.report(attempt, outcomes.time_limit())
            return
        run = self._runs[attempt.ref] = AttemptRun(self, attempt, hosted, self._runners.of(hosted))
        if deadline_at is not None:
            run.limit(deadline_at)
        # Nothing overtakes a waiting attempt: a costly method would wait for ever.
        if not self._heap and self._slots.take(hosted.slot_cost):
            run.began_s = now_s
            run.start()
        else:
            self._arrivals += 1
            heapq.heappush(self._heap, (-assignment.priority, self._arrivals, run))
            self._slots.waiting += 1

    def _fits(self, consumes: Mapping[str, float]) -> bool:
        """Whether an attempt fits beside all others, overrun handlers included."""
        used = in_use([consumes, *(run.attempt.assignment.consumes for run in self._runs.values())])
        return all(used[resource] <= self._resources.get(resource, 0.0) for resource in consumes)

    def start_waiting(self) -> None:
        """Start waiting attempts in free slots."""
        heap = self._heap
        while heap:
            run = heap[0][2]
            if run.over:
                heapq.heappop(heap)
            elif self._slots.take(run.hosted.slot_cost):
                heapq.heappop(heap)
                self._slots.waiting -= 1
                run.began_s = time.monotonic()
                run.start()
            else:
                return

    # -- ends ---------------------------------------------------------------------------------------------------

    def release(self, attempt: HeldAttempt) -> None:
        """Give an attempt back."""
        if self.outbox.release(attempt):
            self._figures.released(attempt)

    def report(
        self,
        attempt: HeldAttempt,
        outcome: task_pb2.Outcome,
        *,
        crashed: bool = False,
        began_s: float | None = None,
        state: keyed_state_pb2.StateWrite | None = None,
    ) -> None:
        """Keep an attempt's outcome, to be sent; only the first one counts. From any thread.

        Args:
            began_s: when its handler began; None: it did not.
            state: what the handler has changed in its state.
        """
        if not self.show_errors:
            outcome.ClearField("error")
        outcome = outcomes.bounded(outcome, self.max_response_bytes)
        result = outcomes.result(attempt.ref, outcome, crashed=crashed)
        if state is not None and not outcome.status.code:
            result.state.CopyFrom(state)
        if self.outbox.finish(attempt, result):
            if outcome.HasField("suspension"):
                self._figures.released(attempt)
                return
            self._figures.ended(attempt, outcome, crashed=crashed, began_s=began_s)

    def gone(self, run: AttemptRun) -> None:
        """Free the slots of a run whose handler is gone."""
        self._forget(run)
        self._slots.give(run.hosted.slot_cost)
        if self._heap:
            self.start_waiting()
        self._slots.admit()

    def withdraw(self, run: AttemptRun) -> None:
        """Drop a run that waited for slots."""
        if run.over:
            return
        run.over = True
        if run.timer is not None:
            run.timer.cancel()
        self._forget(run)
        self._slots.waiting -= 1
        self._slots.admit()
        self.start_waiting()

    def _forget(self, run: AttemptRun) -> None:
        # A later assignment may have the same number, if the attempt was released, or lost and forgotten.
        ref = run.attempt.ref
        if self._runs.get(ref) is run:
            del self._runs[ref]
            if self.awaited:
                self.on_gone(ref)

    # -- stopping -----------------------------------------------------------------------------------------------

    def hold_back(self, *, on: bool) -> None:
        """Start nothing more and release all that has not started, until this is taken back."""
        self._holding_back = on
        if on:
            self._release_waiting()

    def make_unavailable(self, services: frozenset[str]) -> None:
        """Release waiting attempts of these services, and new ones, until other services are named."""
        self._unavailable = services
        self._release_waiting(self._is_unavailable)

    def _is_unavailable(self, method: str) -> bool:
        return method.rpartition("/")[0] in self._unavailable

    def _release_waiting(self, which: Callable[[str], bool] = lambda _method: True) -> None:
        for run in [each for each in self._runs.values() if not each.started]:
            if which(run.hosted.name):
                self.release(run.attempt)
                self.withdraw(run)

    def drain(self) -> None:
        """As `hold_back`, for good."""
        self._stopping = True
        self._release_waiting()

    def interrupt(self, grace_s: float) -> None:
        """Cancel every handler because the agent stops. Attempts that end through this cancellation are released."""
        for run in list(self._runs.values()):
            if run.started and not run.context.cancel_signal:
                run.interrupted = True
                run.cancel("the agent is stopping", grace_s)

    def close(self) -> None:
        """Drop all attempts and timers."""
        self._stopping = True
        for run in list(self._runs.values()):
            if run.timer is not None:
                run.timer.cancel()
            if run.task is not None:
                run.task.cancel()
        self._runs.clear()
        self._heap.clear()


def in_use(consumes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sums of these amounts, by resource."""
    amounts: dict[str, list[float]] = {}
    for each in consumes:
        for resource, amount in each.items():
            amounts.setdefault(resource, []).append(amount)
    # Sums of floats are not exact: ten times 0.1 fits into 1.0.
    return {resource: round(math.fsum(each), 9) for resource, each in amounts.items()}
