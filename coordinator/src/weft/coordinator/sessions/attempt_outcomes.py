"""Counts how attempts end, agent by agent, and tells when that changes what an agent gets.

results ──────┐                       ┌─► the session: slots that it may use, its weight for slow methods
heartbeats ───┼─► AgentOutcomes (rules) ┤
sweep, 10 s ──┘                       └─► log, register: the agent fails; it works again
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Protocol

from weft.coordinator.sessions.agent_outcomes import RULES, AgentOutcomes, is_fault
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.assignments import Held
from weft.coordinator.store.records import AttemptRef
from weft.coordinator.store.task_figures import StoreFigures, observe
from weft.rpc.balancing.outliers import sweep
from weft.rpc.balancing.pool import SHARE_OF_NEWEST
from weft.rpc.balancing.speed import Pace
from weft.rpc.process.logs import get_logger
from weft.rpc.times import seconds, timestamp
from weft.v1 import fleet_pb2, session_pb2

log = get_logger(__name__)

# An agent's pace at a method is measured no more often: it changes in seconds, and short attempts end by the thousand.
MEASURED_EVERY_S = 0.01
# Methods whose pace is known although no known agent has run them.
METHODS_KEPT = 256


class UsedListener(Protocol):
    """Hears what is used."""

    def attempt(self, agent_id: str, held: Held, item: session_pb2.AttemptResult, took_s: float) -> None:
        """An attempt was reported."""
        ...

    def direct(self, agent_id: str, hosted: Container[str], told: Iterable[session_pb2.DirectUsage]) -> None:
        """An agent, which has these methods, tells of direct calls."""
        ...


class EndListener(Protocol):
    """Hears how attempts end."""

    def ended(self, method: str, agent_id: str, run_s: float, *, succeeded: bool) -> None:
        """An attempt has ended that took so long."""
        ...


class AttemptOutcomes:
    """The outcomes at all agents that have or had a session here.

    Args:
        known: what other coordinators tell of an agent; None: nothing.
        timed: whether the time that an attempt of a method takes shows the agent's speed.
        changed: called with a session whose agent fails, or works again.
        now: seconds since the epoch.
        clock: monotonic, in seconds.
        figures: where the times of attempts are counted.
        used: told what each attempt, and direct calls, have used.

    Attributes:
        listener: told how each attempt ends; None: nobody.
    """

    def __init__(
        self,
        known: Callable[[str], fleet_pb2.Agent | None] = lambda _: None,
        *,
        timed: Callable[[str], bool] = lambda _: True,
        changed: Callable[[AgentSession], None] = lambda _: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        figures: StoreFigures | None = None,
        used: UsedListener | None = None,
    ) -> None:
        self.used = used
        self.listener: EndListener | None = None
        self._figures = figures or StoreFigures()
        self._known = known
        self._timed = timed
        self._changed = changed
        self._now = now
        self._clock = clock
        self._agents: dict[str, AgentOutcomes] = {}
        # How long an attempt takes, over all agents here, by method.
        self._typical: dict[str, Pace] = {}
        self._random = random.Random()  # noqa: S311
        self._sweep_at_s = clock() + RULES.interval_s

    # -- sessions -------------------------------------------------------------------------------------------------

    def begin(self, session: AgentSession) -> None:
        """A session begins: what is known of its agent holds."""
        agent_id, now_s = session.owner.agent_id, self._clock()
        outcomes = self._agents.get(agent_id)
        if outcomes is None:
            outcomes = self._agents[agent_id] = AgentOutcomes(now_s)
            agent = self._known(agent_id)
            if agent is not None and agent.failing:
                self._take_over(outcomes, agent.ejection)
        session.outcomes = outcomes
        for _ in range(outcomes.came_back(session.instance_id)):
            self._failed(session, 0, now_s)
        self._settle(session, now_s)

    def end(self, session: AgentSession) -> None:
        """A session has ended. Its attempts are lost if another process comes back."""
        session.outcomes.running = 0 if session.goodbye else len(session.held)

    def forget(self, agent_id: str) -> None:
        self._agents.pop(agent_id, None)

    def _take_over(self, outcomes: AgentOutcomes, told: fleet_pb2.Ejection) -> None:
        left_s = seconds(told.end_time) - self._now()
        outcomes.restore(max(1, told.count), told.failures, told.code, left_s, self._clock())
        outcomes.told = told

    # -- attempts -------------------------------------------------------------------------------------------------

    def take(self, session: AgentSession, results: Iterable[session_pb2.AttemptResult]) -> None:
        """Free the slots of ended attempts, and count their ends."""
        outcomes, now_s, agent_id = session.outcomes, self._clock(), session.owner.agent_id
        successes = 0
        # The attempts that succeeded, of one method after another: how long they took, and the trace of the last one.
        method_of, took_s, trace_of = "", list[float](), ""
        for item in results:
            held = session.let_go(AttemptRef(item.task_id, item.attempt))
            if held is None:
                # A repeated report.
                continue
            code = item.outcome.status.code
            _, method, since_s, traceparent, _, _ = held
            if self.used is not None:
                self.used.attempt(agent_id, held, item, now_s - since_s if since_s else 0.0)
            if self.listener is not None and since_s:
                self.listener.ended(
                    method, agent_id, now_s - since_s, succeeded=not code and not item.crashed
                )
            if not code and not item.crashed:
                successes += 1
                if since_s:
                    if method != method_of:
                        if took_s:
                            self._took(outcomes, method_of, took_s, trace_of, now_s)
                        method_of, took_s = method, []
                    took_s.append(now_s - since_s)
                    trace_of = traceparent
                continue
            if since_s:
                observe(self._figures.of(method).run, [now_s - since_s], now_s - since_s, traceparent)
            if is_fault(code, crashed=item.crashed) and not item.outcome.HasField("suspension"):
                if successes:
                    self._succeeded(session, successes, now_s)
                    successes = 0
                self._failed(session, 0 if item.crashed else code, now_s)
        if successes:
            self._succeeded(session, successes, now_s)
        if took_s:
            self._took(outcomes, method_of, took_s, trace_of, now_s)
        if outcomes.allowance is not None or outcomes.failing:
            self._settle(session, now_s)

    def _succeeded(self, session: AgentSession, count: int, now_s: float) -> None:
        if session.outcomes.succeeded(count, now_s):
            log.info("agent.not_failing", agent_id=session.owner.agent_id)
            session.outcomes.told = None
            self._changed(session)

    def _failed(self, session: AgentSession, code: int, now_s: float) -> None:
        outcomes = session.outcomes
        known = outcomes.failing
        if outcomes.failed(code, now_s):
            self._ejected(session, now_s, known=known)

    def _ejected(self, session: AgentSession, now_s: float, *, known: bool) -> None:
        outcomes = session.outcomes
        told = outcomes.told = fleet_pb2.Ejection(
            end_time=timestamp(self._now() + outcomes.out_for_s(now_s)),
            count=outcomes.record.multiplier,
            failures=outcomes.record.in_a_row,
            code=outcomes.last_code,
        )
        if not known:
            log.warning(
                "agent.failing",
                agent_id=session.owner.agent_id,
                count=told.failures,
                code=told.code,
                effect="others are given its tasks",
            )
        self._changed(session)

    def _took(
        self, outcomes: AgentOutcomes, method: str, took_s: Sequence[float], trace: str, now_s: float
    ) -> None:
        """Count how long attempts of a method took that succeeded; trace: of the last one."""
        observe(self._figures.of(method).run, took_s, took_s[-1], trace)
        pace = outcomes.paces.get(method)
        if (pace is None or now_s - pace.measured_at >= MEASURED_EVERY_S) and self._timed(method):
            self._measured(outcomes, method, sum(took_s) / len(took_s), len(took_s), now_s)

    def _measured(
        self, outcomes: AgentOutcomes, method: str, took_s: float, count: int, now_s: float
    ) -> None:
        typical = self._typical.get(method)
        if typical is None:
            typical = self._typical[method] = Pace()
        outcomes.measured(method, took_s, now_s, typical.seconds)
        share = SHARE_OF_NEWEST if count == 1 else 1.0 - (1.0 - SHARE_OF_NEWEST) ** count
        typical.measured(took_s, now_s, typical.seconds, share)

    # -- time -----------------------------------------------------------------------------------------------------

    def look(self, session: AgentSession) -> None:
        """Time has passed: an ejection ends, a slow start goes on, measurements fade."""
        outcomes = session.outcomes
        if outcomes.allowance is not None:
            self._settle(session, self._clock())
        if outcomes.slow:
            outcomes.fade(self._typical, self._clock())

    def sweep(self, sessions: Iterable[AgentSession], now_s: float) -> None:
        """Compare agents that host the same methods, when that is due."""
        if now_s < self._sweep_at_s:
            return
        self._sweep_at_s = now_s + RULES.interval_s
        peers: dict[frozenset[str], list[AgentSession]] = {}
        for session in sessions:
            peers.setdefault(session.method_set, []).append(session)
        self._forget_methods()
        for group in peers.values():
            self._sweep(group, now_s)

    def _forget_methods(self) -> None:
        """Forget what attempts of methods take that no known agent has run, once there are many."""
        if len(self._typical) <= METHODS_KEPT:
            return
        run = frozenset[str]().union(*(outcomes.paces for outcomes in self._agents.values()))
        for method in self._typical.keys() - run:
            del self._typical[method]

    def _sweep(self, group: Sequence[AgentSession], now_s: float) -> None:
        records = [session.outcomes.record for session in group]
        before = [record.ejected for record in records]
        sweep(records, RULES, now_s, self._random.random)
        for session, was_ejected in zip(group, before, strict=True):
            outcomes = session.outcomes
            if outcomes.record.ejected and not was_ejected:
                known, outcomes.failing = outcomes.failing, True
                self._ejected(session, now_s, known=known)
                self._settle(session, now_s)

    @staticmethod
    def _settle(session: AgentSession, now_s: float) -> None:
        session.outcomes.settle(session.slots, session.highest_cost, now_s)
