"""What a placement plug-in is (`weft coordinator --placement module:Class`), and how it is found.

from weft.coordinator.dispatch.placement_plugin import FreeAgent

class Nearest:
def rank(self, method: str, candidate: FreeAgent) -> float:
return 0.0 if candidate.labels.get("zone") == "eu" else 1.0
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.raised import line_of


@dataclass(frozen=True, slots=True)
class FreeAgent:
    """An agent with free slots that may get a task.

    Args:
        agent_id: its id.
        slots: all of them.
        used_slots: those in use, with the tasks that it gets in this pass already, direct calls, and the backlog that its program reports.
        labels: its labels.
        resources: what it has declared, by name.
    """

    agent_id: str
    slots: int
    used_slots: float
    labels: Mapping[str, str]
    resources: Mapping[str, float]


class Placement(Protocol):
    """Chooses between agents with free slots. One thread calls it, one call at a time; it must be quick, and may keep what it learns."""

    def rank(self, method: str, candidate: FreeAgent) -> float:
        """The rank of an agent for a task of this method: the lowest gets it. It is asked again when the agent has got one.

        Args:
            method: full name.
        """
        ...

    # An optional one: `def ended(self, method: str, agent_id: str, run_s: float, succeeded: bool) -> None`. It is told how long each attempt took, in
    # seconds, from its assignment to its report, before the next tasks are placed.


def load_placement(path: str) -> Placement:
    """Make a plug-in. Its module may be in the current directory.

    Args:
        path: such as "acme.placing:Nearest": a class, or anything that returns a plug-in when it is called without arguments.

    Raises:
        InvalidArgument: there is no such class, it cannot be made, or it has no `rank`.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise _wrong(path, 'it is not of the form "module:Class"')
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        # Last: it must not hide what Python or weft needs.
        sys.path.append(here)
    try:
        made: Placement = getattr(importlib.import_module(module), name)()
        known = callable(getattr(made, "rank", None))
        # It is read once more when passes are planned.
        getattr(made, "ended", None)
    except (Exception, SystemExit) as error:
        # It may raise anything.
        raise _wrong(path, line_of(error)) from error
    if not known:
        raise _wrong(path, "what it makes has no method `rank`")
    return made


def _wrong(path: str, why: str) -> InvalidArgument:
    return refusals.invalid_field(f"the placement {path!r} cannot be used: {why}", field="placement")
