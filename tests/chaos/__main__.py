"""`make chaos`: seeded faults under load, one row a fault. `make chaos ARGS=--help` has the rest.

The exit status is 1 when something acknowledged was lost, a stale result was accepted, or a task ran twice for no
reason that a fault gives.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support" / "gen"))

from tests.chaos.harness.report import Row, print_table
from tests.chaos.harness.run import run
from tests.chaos.harness.scenarios import QUICK, SCENARIOS, Scenario
from tests.chaos.harness.stores import STORES

_RUNS = 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make chaos", description="seeded faults on real processes, and what they cost"
    )
    parser.add_argument("--seed", type=int, help="repeat a schedule; drawn and printed otherwise")
    parser.add_argument("--runs", type=int, help=f"runs a fault, each with the next seed (default {_RUNS})")
    parser.add_argument(
        "--fault", action="append", choices=[each.name for each in SCENARIOS], help="only this; repeatable"
    )
    parser.add_argument(
        "--store",
        action="append",
        choices=list(STORES),
        help="on this store; repeatable (default: the first)",
    )
    parser.add_argument("--quick", action="store_true", help="one run of the four chief faults: under 50 s")
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON a fault, nothing else on stdout"
    )
    return parser.parse_args()


async def _row(scenario: Scenario, store: str, seeds: range, *, as_json: bool) -> Row:
    outcomes = []
    for seed in seeds:
        _remark(f"--store {store} --fault {scenario.name} --seed {seed} --runs 1")
        with tempfile.TemporaryDirectory(prefix="weft-chaos-") as folder:
            outcome = await run(scenario, STORES[store].make(Path(folder)), seed, _remark)
        outcomes.append(outcome)
        for note in outcome.notes[:20]:
            _remark(f"  {note}")
    row = Row(scenario.name, store, outcomes)
    if as_json:
        print(json.dumps(row.figures()), flush=True)
    return row


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _main(arguments: argparse.Namespace) -> int:
    seed = arguments.seed
    if seed is None:
        seed = random.SystemRandom().getrandbits(31)
    runs = arguments.runs or (1 if arguments.quick else _RUNS)
    chosen = QUICK if arguments.quick else SCENARIOS
    if arguments.fault:
        chosen = [each for each in SCENARIOS if each.name in arguments.fault]
    seeds = range(seed, seed + runs)
    rows = [
        await _row(scenario, store, seeds, as_json=arguments.json)
        for store in arguments.store or list(STORES)[:1]
        for scenario in chosen
        if scenario.needs() <= STORES[store].parts
    ]
    if not arguments.json:
        print_table(rows)
    return int(any(row.broken for row in rows))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_arguments())))
