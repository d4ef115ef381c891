"""Slots, the order of what waits for one, deadlines and cancellation: decides when a handler starts and must end.

Lives on the application's event loop and is called there only, except where a method says "from any thread". How a
handler is run is the runners' business; what it reports goes into the outbox at once.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from google.rpc import code_pb2

from weft.agent.handlers import outcomes
from weft.agent.handlers.invoke import ResponseTooLarge
from weft.agent.handlers.runners import Runner
from weft.agent.handlers.slots import Slots
from weft.agent.hosted_methods import HostedMethod
from weft.agent.session.attempt import HeldAttempt, Ref
from weft.agent.session.outbox import Outbox
from weft.rpc.network.channel import MAX_PAYLOAD_BYTES
from weft.rpc.process.logs import get_logger
from weft.v1 import task_pb2

_log = get_logger("weft.agent")

# A timer of a loop that counts in whole milliseconds.
_SHORTEST_S = 0.001
# How long a handler whose attempt ran out of time or was lost may take to end, before it is given up.
UNWANTED_GRACE_S = 5.0


class CancelRequest(NamedTuple):
    """Somebody wants an attempt ended."""

    ref: Ref
    reason: str
    grace_s: float


class Executor:
    """Runs assignments within the agent's slots.

    Args:
        slots: shared with direct calls.
    """

    def __init__(
        self,
        methods: Mapping[str, HostedMethod],
        slots: Slots,
        outbox: Outbox,
        agent_id: str,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.outbox = outbox
        self.agent_id = agent_id
        self.loop = loop
        # From Welcome; written by the session.
        self.max_response_bytes = MAX_PAYLOAD_BYTES
        # Whether operators are told what handlers raise.
        self.show_errors = True
        self._methods = methods
        self._slots = slots
        self._runners: Callable[[HostedMethod], Runner] | None = None
        # Services whose methods are handed back: what runs them is down.
        self._unavailable: frozenset[str] = frozenset()
        self._attempts: dict[Ref, HeldAttempt] = {}
        # (-priority, order of arrival, attempt); one that is over is skipped.
        self._heap: list[tuple[int, int, HeldAttempt]] = []
        self._arrivals = 0
        # Everything new is handed back: for good when the agent stops, or while an operator wants it.
        self._stopping = False
        self._holding_back = False
        self._ended: deque[HeldAttempt] = deque()
        self._ended_posted = False

    def running_async(self) -> list[str]:
        """Methods whose handlers run on the loop now. From any thread; a moment's inaccuracy is harmless."""
        return [each.assignment.method for each in list(self._attempts.values()) if each.task is not None]

    def use(self, pick_runner: Callable[[HostedMethod], Runner]) -> None:
        """Say how handlers are run. Once, before the first assignment."""
        self._runners = pick_runner

    @property
    def stuck_slots(self) -> int:
        """Slots of handlers that still run although their attempts are over. From any thread."""
        return sum(
            attempt.hosted.slot_cost
            for attempt in list(self._attempts.values())
            if attempt.ended and attempt.context is not None and attempt.hosted is not None
        )

    # -- what comes in --------------------------------------------------------------------------------------------

    def handle(self, assigned: Sequence[HeldAttempt], cancellations: Sequence[CancelRequest]) -> None:
        """One message's worth of work."""
        for attempt in assigned:
            self._accept(attempt)
        for cancellation in cancellations:
            self._cancel(cancellation)

    def _accept(self, attempt: HeldAttempt) -> None:
        assignment = attempt.assignment
        if self._stopping or self._holding_back or self._is_unavailable(assignment.method):
            self.outbox.release(attempt)
            return
        hosted = self._methods.get(assignment.method)
        if hosted is None:
            self.report(attempt, outcomes.not_hosted(assignment.method))
            return
        if hosted.request_streaming:
            self.report(attempt, outcomes.not_durable(assignment.method))
            return
        if attempt.deadline_at is not None and attempt.deadline_at <= time.monotonic():
            self.report(attempt, outcomes.time_limit())
            return
        attempt.hosted = hosted
        self._attempts[attempt.ref] = attempt
        if attempt.deadline_at is not None:
            self._time(attempt, attempt.deadline_at)
        # Nothing overtakes what waits already, or a dear method would wait for ever.
        if not self._heap and self._slots.take(hosted.slot_cost):
            self._start(attempt, hosted)
        else:
            self._arrivals += 1
            heapq.heappush(self._heap, (-assignment.priority, self._arrivals, attempt))
            self._slots.waiting += 1

    def _start(self, attempt: HeldAttempt, hosted: HostedMethod) -> None:
        """Start an attempt whose slots are taken."""
        assert self._runners is not None
        runner = attempt.runner = self._runners(hosted)
        attempt.context = runner.context_type(attempt.assignment, self.agent_id, attempt.deadline_at)
        runner.start(attempt)

    def direct_ended(self) -> None:
        """A direct call has given its slots back: what waits may have them."""
        if self._heap:
            self._start_waiting()

    def _start_waiting(self) -> None:
        heap = self._heap
        while heap:
            attempt = heap[0][2]
            hosted = attempt.hosted
            if attempt.over:
                heapq.heappop(heap)
            elif hosted is not None and self._slots.take(hosted.slot_cost):
                heapq.heappop(heap)
                self._slots.waiting -= 1
                self._start(attempt, hosted)
            else:
                return

    # -- ends -------------------------------------------------------------------------------------------------------

    def report(self, attempt: HeldAttempt, outcome: task_pb2.Outcome, *, crashed: bool = False) -> None:
        """An attempt has come to something; only the first report counts. From any thread."""
        if attempt.interrupted and (crashed or outcome.status.code == code_pb2.CANCELLED):
            self.outbox.release(attempt)
            return
        if not self.show_errors:
            outcome.ClearField("error")
        outcome = outcomes.bounded(outcome, self.max_response_bytes)
        self.outbox.finish(attempt, outcomes.result(attempt.ref, outcome, crashed=crashed))

    def overrun(self, attempt: HeldAttempt) -> None:
        """The handler did not end in its grace, and cannot be made to: its slot stays taken until it ends."""
        assert attempt.hosted is not None
        method, task_id = attempt.assignment.method, attempt.assignment.task_id
        self._slots.overruns.add(
            attempt, method, attempt.hosted.slot_cost, attempt.thread, task_id=task_id, direct=False
        )

    def ended(self, attempt: HeldAttempt) -> None:
        """The handler is gone: its slot is free."""
        if not self._forget(attempt):
            return
        if attempt.hosted is not None:
            self._slots.give(attempt.hosted.slot_cost)
        if self._slots.overruns:
            self._slots.overruns.remove(attempt)
        if self._heap:
            self._start_waiting()
        self._slots.admit()

    def _forget(self, attempt: HeldAttempt) -> bool:
        """Done with an attempt; False: it was already."""
        if attempt.over:
            return False
        attempt.over = True
        if attempt.timer is not None:
            attempt.timer.cancel()
        # A later assignment may have the same number: of an attempt that was handed back, or lost and forgotten.
        if self._attempts.get(attempt.ref) is attempt:
            del self._attempts[attempt.ref]
        return True

    def post_ended(self, attempt: HeldAttempt) -> None:
        """As `ended`, from any thread. Ends that come close together wake the loop once."""
        self._ended.append(attempt)
        if not self._ended_posted:
            self._ended_posted = True
            try:
                self.loop.call_soon_threadsafe(self._take_ended)
            except RuntimeError:
                _log.debug("a handler ended after its event loop", task_id=attempt.ref[0])

    def _take_ended(self) -> None:
        # Cleared first: who appends after this posts again.
        self._ended_posted = False
        while self._ended:
            self.ended(self._ended.popleft())

    def check_size(self, payload: bytes) -> None:
        """Refuse a streamed response over the limit. From any thread.

        Raises:
            ResponseTooLarge: it is.
        """
        if len(payload) > self.max_response_bytes:
            raise ResponseTooLarge(outcomes.too_large(len(payload), self.max_response_bytes))

    # -- cancellation and time ----------------------------------------------------------------------------------------

    def _cancel(self, cancellation: CancelRequest) -> None:
        attempt = self._attempts.get(cancellation.ref)
        if attempt is None:
            return
        if attempt.context is None:
            self.report(attempt, outcomes.cancelled(cancellation.reason))
            self._forget_waiting(attempt)
        elif not attempt.context.cancel_signal:
            self._tell(attempt, cancellation.reason, cancellation.grace_s)

    def _tell(self, attempt: HeldAttempt, reason: str, grace_s: float) -> None:
        assert attempt.context is not None
        assert attempt.runner is not None
        attempt.context.signal_cancel(reason)
        if attempt.timer is not None:
            attempt.timer.cancel()
        attempt.timer = self.loop.call_later(grace_s, self._cut_off, attempt)
        attempt.runner.cancel(attempt)

    def _cut_off(self, attempt: HeldAttempt) -> None:
        assert attempt.context is not None
        assert attempt.runner is not None
        self.report(attempt, outcomes.cancelled(attempt.context.cancel_reason))
        if attempt.runner.cut_off(attempt):
            self.ended(attempt)

    def _time(self, attempt: HeldAttempt, deadline_at: float) -> None:
        left_s = max(_SHORTEST_S, deadline_at - time.monotonic())
        attempt.timer = self.loop.call_later(left_s, self._expire, attempt, deadline_at)

    def _expire(self, attempt: HeldAttempt, deadline_at: float) -> None:
        if time.monotonic() < deadline_at:
            # Loops are early by some milliseconds, and before its time the coordinator would take it for another limit.
            self._time(attempt, deadline_at)
            return
        self.report(attempt, outcomes.time_limit())
        if attempt.context is None or attempt.runner is None:
            self._forget_waiting(attempt)
            return
        # It has been reported: a handler in a process need not be waited for.
        isolated = attempt.hosted is not None and attempt.hosted.isolated is not None
        self._tell(attempt, "the time limit passed", 0.0 if isolated else UNWANTED_GRACE_S)

    def _forget_waiting(self, attempt: HeldAttempt) -> None:
        if self._forget(attempt):
            self._slots.waiting -= 1
            self._slots.admit()
            self._start_waiting()

    # -- stopping -------------------------------------------------------------------------------------------------------

    def hold_back(self, *, on: bool) -> None:
        """Start nothing more and hand back all that has not started, until this is taken back."""
        self._holding_back = on
        if on:
            self._hand_back_waiting()

    def make_unavailable(self, services: frozenset[str]) -> None:
        """Hand back what has not started of these services, and what comes, until other services are named."""
        self._unavailable = services
        self._hand_back_waiting(self._is_unavailable)

    def _is_unavailable(self, method: str) -> bool:
        return method.rpartition("/")[0] in self._unavailable

    def _hand_back_waiting(self, which: Callable[[str], bool] = lambda _method: True) -> None:
        for attempt in [each for each in self._attempts.values() if each.context is None]:
            if which(attempt.assignment.method):
                self.outbox.release(attempt)
                self._forget_waiting(attempt)

    def drain(self) -> None:
        """As `hold_back`, for good."""
        self._stopping = True
        self._hand_back_waiting()

    def interrupt(self, grace_s: float) -> None:
        """Cancel every handler because the agent stops: what ends by that is handed back."""
        for attempt in list(self._attempts.values()):
            if attempt.context is not None and not attempt.context.cancel_signal:
                attempt.interrupted = True
                self._tell(attempt, "the agent is stopping", grace_s)

    def close(self) -> None:
        """Let go of everything."""
        self._stopping = True
        for attempt in list(self._attempts.values()):
            if attempt.timer is not None:
                attempt.timer.cancel()
            if attempt.task is not None:
                attempt.task.cancel()
        self._attempts.clear()
        self._heap.clear()
