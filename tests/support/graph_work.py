"""An agent whose method writes each of its runs into a ledger: `weft agent tests.support.graph_work:agent`; and graphs at random, with what must come of them.

WEFT_GRAPHS_LEDGER names the file. A line a run: the run of the graph, the step, the process, the time at which it began.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.agent import Agent, FailedPrecondition, RetryPolicy, current_task

agent = Agent()
DO, UNDO = "graphs.v1.Work/Do", "graphs.v1.Work/Undo"
_PATIENT = RetryPolicy(max_crashes=1000)


def _note() -> None:
    task = current_task()
    run, _, step = task.request_id.removeprefix("step:").partition("/")
    with Path(os.environ["WEFT_GRAPHS_LEDGER"]).open("ab", buffering=0) as file:
        file.write(f"{run} {step} {os.getpid()} {time.monotonic():.6f}\n".encode())


@agent.method(DO, retry=_PATIENT)
async def do(request: dict[str, Any]) -> dict[str, Any]:
    """One more than the sum of its values, after a while."""
    _note()
    await asyncio.sleep(request["ms"] / 1000)
    if request.get("fails"):
        raise FailedPrecondition("it was told to fail")
    return {"value": 1 + sum(request.get("values", ()))}


@agent.method(UNDO, retry=_PATIENT)
async def undo(request: dict[str, Any]) -> dict[str, Any]:
    _note()
    return {"value": request["value"]}


@dataclass(slots=True)
class Wanted:
    """A graph, and what must come of it.

    Args:
        steps: tasks that must run, by their paths.
        undone: those that must be undone.
        total: the output; None: the graph fails.
    """

    graph: dict[str, Any]
    steps: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)
    total: int | None = None


def random_graph(rng: random.Random, steps: int = 20) -> Wanted:
    """A graph of so many steps: some in a map, some behind a condition, one that fails; in a third of the graphs, nothing catches that."""
    nodes: list[dict[str, Any]] = []
    wanted = Wanted({"name": "random", "nodes": nodes, "output": "${steps.last.value}"})
    values: dict[str, int] = {}
    in_map = rng.randint(2, 5)
    failing = rng.randrange(2, 8)
    catches = rng.choice(["output", "instead", "nothing"])
    # What cannot be reached after the failure.
    lost: set[str] = set()

    def step(name: str, needed: list[str], **request: Any) -> dict[str, Any]:
        given = [f"${{steps.{each}.value}}" for each in needed]
        return {
            "name": name,
            "step": {
                "method": DO,
                "request": {"ms": rng.choice([1, 20, 100, 400]), "values": given, **request},
            },
            "undo": {"method": UNDO, "request": {"value": f"${{steps.{name}.value}}"}},
        }

    def add(name: str, node: dict[str, Any], needed: list[str]) -> None:
        nodes.append(node)
        if lost & set(needed):
            lost.add(name)
            return
        values[name] = 1 + sum(values[each] for each in needed)
        wanted.steps.add(name)

    plain = steps - in_map - (2 if catches == "instead" else 1) - 1
    for number in range(plain):
        name = f"s{number}"
        needed = rng.sample([f"s{n}" for n in range(number)], min(number, rng.randint(0, 2)))
        node = step(name, needed)
        if number == failing:
            node["step"]["request"]["fails"] = True
            nodes.append(node)
            wanted.steps.add(name)
            if catches == "nothing":
                lost.add(name)
            elif catches == "output":
                node["on_failure"] = {"output": {"value": 100.0}}
                values[name] = 100
            else:
                node["on_failure"] = {"instead": step(f"{name}_instead", needed)}
                wanted.steps.add(f"{name}_instead")
                values[name] = 1 + sum(values[each] for each in needed)
            continue
        add(name, node, needed)
    nodes.append(
        {
            "name": "each",
            "map": {
                "items": str([float(n) for n in range(in_map)]),
                "concurrency": 3,
                "nodes": [
                    {
                        **step("one", []),
                        "step": {"method": DO, "request": {"ms": 50, "values": ["${item}"]}},
                    }
                ],
            },
        }
    )
    wanted.steps |= {f"one[{n}]" for n in range(in_map)}
    ends = [f"s{n}" for n in range(max(0, plain - 3), plain)]
    last = step("last", ends, extra="${steps.each}")
    nodes.append(
        {
            "name": "choice",
            "condition": {"choices": [{"when": f"steps.{ends[0]}.value >= 0.0", "nodes": [last]}]},
        }
    )
    if lost & set(ends):
        lost.add("last")
    else:
        wanted.steps.add("last")
    if catches == "nothing":
        failed = f"s{failing}"
        wanted.undone = {f"undo/{each}" for each in wanted.steps if each != failed}
    else:
        wanted.total = 1 + sum(values[each] for each in ends)
    rng.shuffle(nodes)
    return wanted
