"""Plans passes by a placement plug-in, which is not ours: it may raise, hang, or answer with anything. That costs its own choice, and nothing else.

    pass ─► job ─► the plug-in's thread: what has ended is told, then agents are ranked ─► plan
     │                                                                                      │
     └── at most PLAN_S ◄───────────────────────────────────────────────────────────────────┘   else None: the pass goes on by least connections

After a failure the plug-in rests for REST_S, and as long as it hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from weft.coordinator.dispatch.placement import FreeSession, Share, plan_by_rank
from weft.coordinator.dispatch.placement_plugin import FreeAgent, Placement, load_placement
from weft.coordinator.store.rules import QueueKey
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.logs import get_logger
from weft.rpc.raised import line_of
from weft.rpc.telemetry.coordinator_metrics import PLACEMENTS
from weft.rpc.telemetry.figures import Figures, Labels

log = get_logger(__name__)

# The longest that a pass waits for its plan.
PLAN_S = 0.1
# How long it is not asked after a failure.
REST_S = 5.0
# Ends that wait to be told. Older ones are dropped.
MAX_ENDS = 4096
USED, RESTED, FAILED, LATE = "used", "rested", "failed", "late"


class RunEnd(NamedTuple):
    """The end of an attempt."""

    method: str
    agent_id: str
    run_s: float
    succeeded: bool


class _Job(NamedTuple):
    """A pass to plan."""

    ready: Mapping[QueueKey, int]
    candidates: Sequence[FreeSession]
    facts: Sequence[FreeAgent]
    turn: int
    answer: asyncio.Future[list[Share] | None]
    loop: asyncio.AbstractEventLoop


class PluginPlanner:
    """Plans passes by one plug-in, in a thread of its own.

    Args:
        placement: the plug-in.
        name: how logs name it.

    Attributes:
        passes: how many passes it was used in, and how often it was not, by why.
    """

    def __init__(self, placement: Placement, name: str) -> None:
        self._placement, self._name = placement, name
        self._told: Callable[..., object] | None = getattr(placement, "ended", None)
        self._ends: deque[RunEnd] = deque(maxlen=MAX_ENDS)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._rests_until_s = 0.0
        self._logged: set[str] = set()
        self.passes = Counter({USED: 0, RESTED: 0, FAILED: 0, LATE: 0})

    def ended(self, method: str, agent_id: str, run_s: float, *, succeeded: bool) -> None:
        """An attempt has ended: the plug-in is told before the next pass."""
        if self._told is not None:
            self._ends.append(RunEnd(method, agent_id, run_s, succeeded))

    def counted(self) -> Iterator[tuple[Labels, float]]:
        """The passes by outcome."""
        for outcome, times in self.passes.items():
            yield (outcome,), times

    async def plan(
        self,
        ready: Mapping[QueueKey, int],
        candidates: Sequence[FreeSession],
        facts: Sequence[FreeAgent],
        turn: int,
    ) -> list[Share] | None:
        """What each candidate gets. None: the plug-in does not say it in time, or there are not slots for all tasks.

        Args:
            facts: of each candidate what the plug-in sees.
        """
        loop = asyncio.get_running_loop()
        if self._busy or loop.time() < self._rests_until_s:
            self.passes[RESTED] += 1
            return None
        if self._thread is None:
            # A daemon: the end of the process does not wait for a plug-in that hangs.
            self._thread = threading.Thread(target=self._work, name="placement", daemon=True)
            self._thread.start()
        answer: asyncio.Future[list[Share] | None] = loop.create_future()
        self._busy = True
        self._jobs.put(_Job(ready, candidates, facts, turn, answer, loop))
        try:
            async with asyncio.timeout(PLAN_S):
                shares = await answer
        except TimeoutError:
            self._failed(LATE, f"it took longer than {PLAN_S} s", loop.time())
            return None
        except Exception as error:
            # Whatever the plug-in raised.
            self._failed(FAILED, str(error), loop.time())
            return None
        self.passes[USED] += shares is not None
        return shares

    def stop(self) -> None:
        """End the thread, once the plug-in returns."""
        self._jobs.put(None)

    def _failed(self, outcome: str, why: str, now_s: float) -> None:
        self.passes[outcome] += 1
        self._rests_until_s = now_s + REST_S
        if outcome not in self._logged:
            self._logged.add(outcome)
            log.warning(
                "placement.failed", placement=self._name, reason=why, effect="least connections are used"
            )

    def _settle(
        self,
        answer: asyncio.Future[list[Share] | None],
        shares: list[Share] | None,
        error: Exception | None,
    ) -> None:
        self._busy = False
        if answer.done():
            # Nobody has waited so long.
            return
        if error is None:
            answer.set_result(shares)
        else:
            answer.set_exception(error)

    # -- in the plug-in's thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            shares, error = None, None
            try:
                shares = self._planned(job)
            except BaseException as raised:
                error = RuntimeError(line_of(raised))
            # The loop has ended: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(self._settle, job.answer, shares, error)

    def _planned(self, job: _Job) -> list[Share] | None:
        while self._ends and self._told is not None:
            self._told(*self._ends.popleft())
        facts = job.facts

        def rank(method: str, at: int, given: int) -> float:
            known = facts[at]
            if given:
                known = FreeAgent(
                    known.agent_id, known.slots, known.used_slots + given, known.labels, known.resources
                )
            ranked = float(self._placement.rank(method, known))
            if ranked != ranked:  # noqa: PLR0124 - NaN
                raise ValueError(f"rank is not a number for {method} at {known.agent_id}")
            return ranked

        return plan_by_rank(job.ready, job.candidates, rank, job.turn)


def planner_of(path: str, figures: Figures, *, strict: bool) -> PluginPlanner | None:
    """The planner of a mesh; None: no plug-in is set, or it cannot be made.

    Args:
        path: the plug-in, as "module:Class"; empty: none.
        strict: raise if it cannot be made.

    Raises:
        InvalidArgument: it cannot be used.
    """
    if not path:
        return None
    try:
        planner = PluginPlanner(load_placement(path), path)
    except InvalidArgument as error:
        if strict:
            raise
        log.warning("placement.failed", placement=path, error=str(error), effect="least connections are used")
        return None
    figures.ask(PLACEMENTS, planner.counted)
    return planner
