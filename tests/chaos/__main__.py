"""`make chaos`: seeded faults under load, one row a fault. `make chaos ARGS=--help` has the rest.

The exit status is 1 when something acknowledged was lost, a stale result was accepted, or a task ran twice for no
reason that a fault gives.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support" / "gen"))

from tests.chaos.harness.graph_kills import run_graphs
from tests.chaos.harness.pool_kills import run_pools
from tests.chaos.harness.report import Row, print_table
from tests.chaos.harness.run import run
from tests.chaos.harness.scenarios import GRAPHS, POOLS, Scenario
from tests.chaos.harness.stores import DEFAULT, FAULTS, QUICK, STORES
from tests.support.redis_server import redis_binary

_RUNS = 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make chaos", description="seeded faults on real processes, and what they cost"
    )
    parser.add_argument("--seed", type=int, help="repeat a schedule; sampled and printed otherwise")
    parser.add_argument("--runs", type=int, help=f"runs a fault, each with the next seed (default {_RUNS})")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this; repeatable")
    parser.add_argument(
        "--store",
        action="append",
        choices=list(STORES),
        help=f"on this store; repeatable (default: {' and '.join(DEFAULT)})",
    )
    parser.add_argument("--quick", action="store_true", help="one run of the chief faults: under 50 s")
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON a fault, nothing else on stdout"
    )
    return parser.parse_args()


async def _row(scenario: Scenario, store: str, seeds: range, *, as_json: bool) -> Row:
    outcomes = []
    for seed in seeds:
        _remark(f"--store {store} --fault {scenario.name} --seed {seed} --runs 1")
        with tempfile.TemporaryDirectory(prefix="weft-chaos-") as folder:
            if scenario in (POOLS, GRAPHS):
                kind = "redis" if STORES[store].on_redis else "embedded"
                own = run_pools if scenario is POOLS else run_graphs
                outcome = await own(Path(folder), kind, seed, _remark)
            else:
                outcome = await run(scenario, STORES[store].make(Path(folder)), seed, _remark)
        outcomes.append(outcome)
        for note in outcome.notes[:20]:
            _remark(f"  {note}")
    row = Row(scenario.name, store, outcomes, unpromised=not STORES[store].promises(scenario))
    if as_json:
        print(json.dumps(row.figures()), flush=True)
    return row


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _chosen(arguments: argparse.Namespace) -> list[tuple[str, Scenario]]:
    """Rows to be: stores and what happens to them."""
    stores = arguments.store or (DEFAULT if not arguments.quick else STORES)
    rows = [
        (store, scenario)
        for store in stores
        for scenario in STORES[store].scenarios
        if not arguments.fault or scenario.name in arguments.fault
        if not arguments.quick or (store, scenario.name) in QUICK
    ]
    if not shutil.which("bwrap") and any(scenario is GRAPHS for _, scenario in rows):
        _remark("without the rows of graphs: bubblewrap is not installed")
        rows = [(store, scenario) for store, scenario in rows if scenario is not GRAPHS]
    if any(STORES[store].on_redis for store, _ in rows):
        try:
            redis_binary()
        except pytest.skip.Exception as absent:
            _remark(f"without the rows of Redis: {absent}")
            rows = [(store, scenario) for store, scenario in rows if not STORES[store].on_redis]
        except pytest.fail.Exception as absent:
            sys.exit(str(absent))
    return rows


async def _main(arguments: argparse.Namespace) -> int:
    seed = arguments.seed
    if seed is None:
        seed = random.SystemRandom().getrandbits(31)
    runs = arguments.runs or (1 if arguments.quick else _RUNS)
    seeds = range(seed, seed + runs)
    chosen = _chosen(arguments)
    rows = [await _row(scenario, store, seeds, as_json=arguments.json) for store, scenario in chosen]
    if not arguments.json:
        print_table(rows)
    return int(not rows or any(row.broken for row in rows))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_arguments())))
