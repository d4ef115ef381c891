"""Graphs of 20 steps under kills of the planner, of the agents of their steps, of processes of sandboxes, and of coordinators: each ends right, each
remembered step ran once unless its own agent died, nothing is left.

One seed on each store; with `make soak` 50, or one by TEST_SEED.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.harness.graph_kills import Kill, Ran, again, run_graphs
from tests.support.graph_work import random_graph
from tests.support.sandboxed import need_bubblewrap
from tests.support.soak import SOAKS

SEEDS = [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else list(range(1, 51 if SOAKS else 2))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_graphs_end_right_and_leave_nothing(tmp_path: Path, store: str, seed: int) -> None:
    need_bubblewrap()
    outcome = await run_graphs(tmp_path, store, seed, lambda text: print(f"seed {seed}:{text}"))
    assert not outcome.notes


def test_a_graph_at_random_has_twenty_steps() -> None:
    for seed in range(50):
        wanted = random_graph(random.Random(seed))
        if wanted.total is None:
            assert len(wanted.steps) <= 20
            assert len(wanted.undone) == len(wanted.steps) - 1
        else:
            assert 19 <= len(wanted.steps) <= 20


@pytest.mark.parametrize(
    ("kills", "found"),
    [
        ([], True),
        ([Kill("7", 1.5, 1.6)], False),
        ([Kill("coordinator", 0.5, 1.5)], False),
        ([Kill("8", 1.5, 1.6)], True),
        ([Kill("7", 0.5, 0.6)], True),
        ([Kill("7", 2.5, 2.6)], True),
    ],
)
def test_the_verdict_sees_a_step_that_ran_again(kills: list[Kill], found: bool) -> None:
    runs = [Ran("r", "s", "7", 1.0), Ran("r", "s", "8", 2.0), Ran("r", "t", "8", 2.1), Ran("q", "s", "7", 3)]
    assert bool(again(runs, kills)) is found
