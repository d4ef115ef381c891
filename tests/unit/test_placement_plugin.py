"""Placement plug-ins: what they choose, and that a broken one costs its own choice alone."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.store.support import Harness, ManualClock, RecordingListener
from tests.support.hostile import Mute, Untold
from tests.support.sessions import A, B, index_of, session
from weft.coordinator.dispatch import plugin_planner
from weft.coordinator.dispatch.dispatcher import Dispatcher
from weft.coordinator.dispatch.placement import FreeSession, plan_by_rank
from weft.coordinator.dispatch.placement_plugin import FreeAgent, load_placement
from weft.coordinator.dispatch.plugin_planner import PluginPlanner, planner_of
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import QueueKey
from weft.rpc.errors import InvalidArgument
from weft.rpc.telemetry.figures import Figures

QA, QB = QueueKey(A), QueueKey(B)


def free(index: int, slots: int, *queues: QueueKey, cost: int = 1) -> FreeSession:
    return FreeSession(index, slots, 0, slots, dict.fromkeys(queues, cost))


def test_each_task_goes_to_the_lowest_rank_and_ranks_are_asked_again() -> None:
    both = [free(0, 4, QA), free(1, 4, QA)]
    shares = plan_by_rank({QA: 5}, both, lambda _, at, given: given + at * 1.5, 0)
    assert shares == [(0, QA, 3), (1, QA, 2)]
    # With one method quick here and the other one there.
    mixed = [free(0, 4, QA, QB), free(1, 4, QA, QB)]
    shares = plan_by_rank({QA: 2, QB: 2}, mixed, lambda method, at, _: float((method == A) == at), 0)
    assert shares == [(0, QA, 2), (1, QB, 2)]


def test_without_slots_for_all_there_is_no_plan() -> None:
    assert plan_by_rank({QA: 5}, [free(0, 2, QA), free(1, 2, QA)], lambda *_: 0.0, 0) is None
    # Two of three slots cannot be used.
    assert plan_by_rank({QA: 2}, [free(0, 3, QA, cost=2)], lambda *_: 0.0, 0) is None


def test_a_queue_with_few_agents_comes_first() -> None:
    agents = [free(0, 1, QA, QB), free(1, 1, QB)]
    # The plug-in wants all of both at the first agent.
    shares = plan_by_rank({QB: 1, QA: 1}, agents, lambda _, at, __: at, 0)
    assert shares == [(0, QA, 1), (1, QB, 1)]


def test_no_agent_gets_more_than_it_has_slots_for() -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(200):
        agents = [
            free(at, rng.randint(0, 5), *rng.sample([QA, QB], rng.randint(1, 2)), cost=rng.randint(1, 2))
            for at in range(rng.randint(1, 6))
        ]
        ready = {QA: rng.randint(1, 5), QB: rng.randint(1, 5)}
        shares = plan_by_rank(ready, agents, lambda *_: rng.random(), rng.randint(0, 9))
        if shares is None:
            continue
        for at, agent in enumerate(agents):
            used = sum(tasks * agent.costs[queue] for where, queue, tasks in shares if where == at)
            assert used <= agent.free_slots, seed
        assert all(sum(t for _, q, t in shares if q == queue) == tasks for queue, tasks in ready.items()), (
            seed
        )


# -- in the dispatcher ------------------------------------------------------------------------------------------------


@pytest.fixture
async def h(tmp_path: Path) -> AsyncIterator[Harness]:
    clock, listener = ManualClock(), RecordingListener()
    store = EmbeddedStore(tmp_path / "store.db", clock=clock)
    await store.open(listener)
    yield Harness(store, clock, listener)
    await store.close()


class Named:
    """Prefers agents by their names, and remembers what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, FreeAgent]] = []
        self.told: list[tuple[str, str, float, bool]] = []

    def rank(self, method: str, candidate: FreeAgent) -> float:
        self.seen.append((method, candidate))
        return {A: "ab", B: "ba"}[method].index(candidate.agent_id)

    def ended(self, method: str, agent_id: str, run_s: float, succeeded: bool) -> None:
        self.told.append((method, agent_id, run_s, succeeded))


async def mesh(h: Harness, planner: PluginPlanner) -> tuple[Dispatcher, list[AgentSession]]:
    sessions = [
        session(name, methods=[A, B], slots=4, epoch=(await h.agent(name, lease_s=1e9)).epoch)
        for name in "ab"
    ]
    return Dispatcher(h.store, index_of(*sessions), planner=planner), sessions


def held(one: AgentSession) -> list[str]:
    return sorted(each[1] for each in one.held.values())


async def test_tasks_go_where_the_plug_in_says(h: Harness) -> None:
    plugin = Named()
    planner = PluginPlanner(plugin, "named")
    dispatcher, (a, b) = await mesh(h, planner)
    await h.submit_many([Submission(A), Submission(B), Submission(A), Submission(B)])
    planner.ended(A, "a", 0.5, succeeded=True)
    while await dispatcher.run_pass():
        pass
    assert (held(a), held(b)) == ([A, A], [B, B])
    assert plugin.told == [(A, "a", 0.5, True)]
    assert planner.passes[plugin_planner.USED] == 1
    assert {each.used_slots for _, each in plugin.seen} >= {0, 1}
    await dispatcher.stop()


async def test_more_tasks_than_slots_are_chosen_by_priority(h: Harness) -> None:
    planner = PluginPlanner(plugin := Named(), "named")
    dispatcher, (a, b) = await mesh(h, planner)
    await h.submit_many([*[Submission(B)] * 8, *[Submission(A, priority=9)] * 4])
    while await dispatcher.run_pass():
        pass
    assert sorted(held(a) + held(b)) == [A] * 4 + [B] * 4
    assert not plugin.seen
    await dispatcher.stop()


def raises(*_: object) -> float:
    raise KeyError("no such agent")


def leaves(*_: object) -> float:
    raise SystemExit(1)


def untold(*_: object) -> float:
    raise Untold


class Odd:
    def __float__(self) -> float:
        raise Mute

    __repr__ = __str__ = __float__  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("rank", "outcome"),
    [
        (raises, plugin_planner.FAILED),
        (leaves, plugin_planner.FAILED),
        (lambda *_: math.nan, plugin_planner.FAILED),
        (lambda *_: "first", plugin_planner.FAILED),
        (lambda *_: None, plugin_planner.FAILED),
        (untold, plugin_planner.FAILED),
        (lambda *_: Odd(), plugin_planner.FAILED),
        (lambda *_: threading.Event().wait(0.5), plugin_planner.LATE),
    ],
    ids=["raises", "exits", "nan", "text", "nothing", "untold", "odd", "late"],
)
async def test_a_broken_one_costs_its_choice_alone(
    h: Harness, rank: Callable[..., float], outcome: str, capfd: pytest.CaptureFixture[str]
) -> None:
    plugin = Named()
    plugin.rank = rank  # type: ignore[method-assign]
    planner = PluginPlanner(plugin, "broken")
    dispatcher, (a, b) = await mesh(h, planner)
    for turn in range(1, 4):
        await h.submit_many([Submission(A), Submission(A)])
        began_s = time.monotonic()
        while await dispatcher.run_pass():
            pass
        assert len(a.held) == len(b.held) == turn
        # The first pass waits for it, later ones do not.
        assert turn == 1 or time.monotonic() - began_s < plugin_planner.PLAN_S
    assert +planner.passes == {outcome: 1, plugin_planner.RESTED: 2}
    await dispatcher.stop()


async def test_after_a_rest_it_is_asked_again(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_planner, "REST_S", 0.0)
    plugin = Named()
    good, plugin.rank = plugin.rank, raises  # type: ignore[method-assign, assignment]
    planner = PluginPlanner(plugin, "mended")
    dispatcher, (a, _) = await mesh(h, planner)
    await h.submit_many([Submission(A)])
    await dispatcher.run_pass()
    plugin.rank = good  # type: ignore[method-assign]
    await h.submit_many([Submission(A), Submission(A)])
    await dispatcher.run_pass()
    assert +planner.passes == {plugin_planner.FAILED: 1, plugin_planner.USED: 1}
    assert held(a)
    await dispatcher.stop()


class Silent:
    def rank(self, method: str, candidate: FreeAgent) -> float:
        return 0.0


async def test_ends_that_nobody_takes_are_bounded() -> None:
    planner = PluginPlanner(Named(), "named")
    for _ in range(plugin_planner.MAX_ENDS + 10):
        planner.ended(A, "a", 1.0, succeeded=True)
    assert len(planner._ends) == plugin_planner.MAX_ENDS
    silent = PluginPlanner(Silent(), "silent")
    silent.ended(A, "a", 1.0, succeeded=True)
    assert not silent._ends


# -- how it is found --------------------------------------------------------------------------------------------------

MODULE = """
class Good:
    def rank(self, method, candidate):
        return 0.0

class Blind:
    pass

class Failing:
    def __init__(self):
        raise RuntimeError("no model")

def leave():
    raise SystemExit(3)

class Untold(Exception):
    def __str__(self):
        raise KeyError

class Shy:
    def rank(self, method, candidate):
        return 0.0

    @property
    def ended(self):
        raise Untold
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "placing_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    yield
    __import__("sys").modules.pop("placing_here", None)


@pytest.mark.usefixtures("module")
def test_it_is_found_in_the_current_directory() -> None:
    assert load_placement("placing_here:Good").rank("", None) == 0.0  # type: ignore[arg-type]
    assert planner_of("", Figures(), strict=True) is None
    assert planner_of("placing_here:Good", Figures(), strict=True) is not None
    assert planner_of("placing_here:Failing", Figures(), strict=False) is None


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("placing_here", 'is not of the form "module:Class"'),
        (":Good", 'is not of the form "module:Class"'),
        ("no_such_module:Good", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("placing_here:Bad", "has no attribute 'Bad'"),
        ("placing_here:Blind", "has no method `rank`"),
        ("placing_here:Failing", "RuntimeError: no model"),
        ("placing_here:leave", "SystemExit: 3"),
        ("placing_here:Shy", "placing_here.Untold"),
    ],
)
def test_what_is_wrong_with_one_is_said(path: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match="placement") as refused:
        planner_of(path, Figures(), strict=True)
    assert says in refused.value.message


async def test_a_loop_that_has_ended_is_nothing_to_it() -> None:
    planner = PluginPlanner(plugin := Named(), "named")
    gate = threading.Event()
    plugin.rank = lambda *_: float(gate.wait(5))  # type: ignore[method-assign, assignment]

    def once() -> None:
        async def ask() -> None:
            facts = [FreeAgent("a", 1, 0, {}, {}), FreeAgent("b", 1, 0, {}, {})]
            assert await planner.plan({QA: 1}, [free(0, 1, QA), free(1, 1, QA)], facts, 0) is None

        asyncio.run(ask())

    await asyncio.to_thread(once)
    gate.set()
    planner.stop()
    assert planner._thread is not None
    await asyncio.to_thread(planner._thread.join, 5)
    assert not planner._thread.is_alive()
