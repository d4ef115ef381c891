"""An agent whose method writes each of its runs into a ledger: `weft agent tests.support.graph_work:agent`; and graphs at random, with what must come of them.

WEFT_GRAPHS_LEDGER names the file. A line a run: the run of the graph, the step, the process, the time at which it began. What runs in a sandbox cannot write it: it
prints the same line, after BOXED, into the agent's log.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.agent import Agent, FailedPrecondition, RetryPolicy, Sandbox, current_task

agent = Agent()
DO, BOX, UNDO = "graphs.v1.Work/Do", "graphs.v1.Work/Box", "graphs.v1.Work/Undo"
_PATIENT = RetryPolicy(max_crashes=1000)
_LEDGER = os.environ.get("WEFT_GRAPHS_LEDGER", "")
BOXED = "boxed:"
# What is left of one can be told by its variable, which bubblewrap has among its arguments.
_SANDBOX = Sandbox(memory_mb=256, variables={"WEFT_GRAPHS_LEDGER": _LEDGER})


def _line() -> str:
    run, _, step = current_task().request_id.removeprefix("step:").partition("/")
    return f"{run} {step} {os.getpid()} {time.monotonic():.6f}\n"


def _note() -> None:
    with Path(_LEDGER).open("ab", buffering=0) as file:
        file.write(_line().encode())


@agent.method(DO, retry=_PATIENT)
async def do(request: dict[str, Any]) -> dict[str, Any]:
    """One more than the sum of its values, after a while."""
    _note()
    await asyncio.sleep(request["ms"] / 1000)
    if request.get("fails"):
        raise FailedPrecondition("it was told to fail")
    return {"value": 1 + sum(request.get("values", ()))}


def box(request: dict[str, Any]) -> dict[str, Any]:
    """The same in a sandbox."""
    os.write(1, f"{BOXED} {_line()}".encode())
    time.sleep(request["ms"] / 1000)
    return {"value": 1 + sum(request.get("values", ()))}


if shutil.which("bwrap"):
    agent.method(BOX, retry=_PATIENT, isolate=_SANDBOX)(box)


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


_DURATIONS_MS = [1, 20, 100, 400, 1000]


class _Draft:
    """A graph that grows, and what is known of it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.nodes: list[dict[str, Any]] = []
        self.wanted = Wanted({"name": "random", "nodes": self.nodes, "output": "${steps.last.value}"})
        self.values: dict[str, int] = {}
        # What cannot be reached after the failure.
        self.lost: set[str] = set()

    def step(self, name: str, needed: list[str], method: str = DO, **request: Any) -> dict[str, Any]:
        given = [f"${{steps.{each}.value}}" for each in needed]
        ms = self.rng.choice(_DURATIONS_MS)
        return {
            "name": name,
            "step": {"method": method, "request": {"ms": ms, "values": given, **request}},
            "undo": {"method": UNDO, "request": {"value": f"${{steps.{name}.value}}"}},
        }

    def add(self, name: str, node: dict[str, Any], needed: list[str]) -> None:
        """Add a node that succeeds if what it needs does."""
        self.nodes.append(node)
        if self.lost & set(needed):
            self.lost.add(name)
            return
        self.values[name] = 1 + sum(self.values[each] for each in needed)
        self.wanted.steps.add(name)

    def add_failing(self, name: str, needed: list[str], catches: str) -> None:
        """Add one that fails, and what catches that."""
        node = self.step(name, needed, fails=True)
        self.nodes.append(node)
        self.wanted.steps.add(name)
        if catches == "nothing":
            self.lost.add(name)
        elif catches == "output":
            node["on_failure"] = {"output": {"value": 100.0}}
            self.values[name] = 100
        else:
            node["on_failure"] = {"instead": self.step(f"{name}_instead", needed)}
            self.wanted.steps.add(f"{name}_instead")
            self.values[name] = 1 + sum(self.values[each] for each in needed)

    def add_blocks(self, in_map: int) -> None:
        """Add a map of so many items, and two steps in parallel."""
        one = {**self.step("one", []), "step": {"method": DO, "request": {"ms": 50, "values": ["${item}"]}}}
        items = str([float(n) for n in range(in_map)])
        self.nodes.append({"name": "each", "map": {"items": items, "concurrency": 3, "nodes": [one]}})
        both = [self.step("left", []), self.step("right", [])]
        self.nodes.append({"name": "both", "parallel": {"nodes": both}})
        self.wanted.steps |= {f"one[{n}]" for n in range(in_map)} | {"left", "right"}


def random_graph(rng: random.Random, steps: int = 20, *, boxes: int = 3) -> Wanted:
    """A graph of so many steps: some in a map, two in parallel, one behind a condition, some in sandboxes, one that fails; in a third of the graphs, nothing catches that."""
    draft = _Draft(rng)
    in_map, failing = rng.randint(2, 5), rng.randrange(2, 8)
    catches = rng.choice(["output", "instead", "nothing"])
    plain = steps - in_map - 2 - (2 if catches == "instead" else 1) - 1
    boxed = rng.sample([n for n in range(plain) if n != failing], boxes)
    for number in range(plain):
        name = f"s{number}"
        needed = rng.sample([f"s{n}" for n in range(number)], min(number, rng.randint(0, 2)))
        if number == failing:
            draft.add_failing(name, needed, catches)
        else:
            draft.add(name, draft.step(name, needed, BOX if number in boxed else DO), needed)
    draft.add_blocks(in_map)
    ends = [f"s{n}" for n in range(plain - 3, plain)]
    last = draft.step("last", ends, extra="${steps.each}", more="${steps.both}")
    choice = {"choices": [{"when": f"steps.{ends[0]}.value >= 0.0", "nodes": [last]}]}
    draft.nodes.append({"name": "choice", "condition": choice})
    wanted = draft.wanted
    if draft.lost & set(ends):
        draft.lost.add("last")
    else:
        wanted.steps.add("last")
    if catches == "nothing":
        wanted.undone = {f"undo/{each}" for each in wanted.steps if each != f"s{failing}"}
    else:
        wanted.total = 1 + sum(draft.values[each] for each in ends)
    rng.shuffle(draft.nodes)
    return wanted
