"""An agent whose handlers note each task in the state of its key: for tests that count what was done."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from weft.agent import Agent, Lock, current_task

# Of a task in steps that is not done; other tasks may run between its attempts.
BEGUN = "begun "
COUNTED = [Lock("count", key='metadata["x-key"]', state=True)]
agent = Agent()


def place(names: list[str]) -> int:
    """The place of the last one among those that are done."""
    return sum(not name.startswith(BEGUN) for name in names)


@agent.method("acme.v1.Count/Note", locks=COUNTED)
async def note(request: dict[str, Any]) -> dict[str, Any]:
    """Append the request's name; the state is the list of all."""
    state = current_task().state
    names = state.json([])
    await asyncio.sleep(random.uniform(0, 0.05))
    names.append(request["name"])
    state.set(names)
    await asyncio.sleep(random.uniform(0, 0.05))
    return {"place": place(names)}


@agent.method("acme.v1.Count/NoteInSteps", locks=COUNTED)
async def note_in_steps(request: dict[str, Any]) -> dict[str, Any]:
    """The same in two steps, the first of them saved: a later attempt goes on there."""
    state = current_task().state
    names = state.json([])
    begun = BEGUN + request["name"]
    if begun not in names:
        names.append(begun)
        state.set(names)
        await state.save()
    await asyncio.sleep(random.uniform(0, 0.05))
    names.remove(begun)
    names.append(request["name"])
    state.set(names)
    return {"place": place(names)}
