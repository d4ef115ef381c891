"""Whether an agent can run a submission is found out without an examination of the whole fleet for each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.support.sessions import A, session
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.matching import Matching
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import Requirements

FLEET = 500
GPU = Requirements.of({"gpu": "yes"}, {})


async def register_is_new() -> None:
    pass


async def test_one_look_at_the_fleet_answers_for_many() -> None:
    register = AgentRegister()
    for number in range(FLEET):
        register.session_changed(session(f"a{number}"))
    matching = Matching(cast("Any", SimpleNamespace(shared=False)), register, register_is_new)

    async def refused(requirements: Requirements | None = None) -> list[str]:
        given = {} if requirements is None else {"requirements": requirements}
        many = [Submission(A, task_id=f"t{n}", no_wait=True, **given) for n in range(100)]
        return list(await matching.refused(many))

    assert await refused() == []
    assert register._index.examined == 1, "the first agent can"
    assert len(await refused(GPU)) == 100
    # Whether there is one, what there is, and what is lacking.
    assert register._index.examined == 1 + 3 * FLEET
