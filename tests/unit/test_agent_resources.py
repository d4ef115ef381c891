"""The free amounts of an agent's resources: exact over many attempts, and back to all of it in the end."""

from __future__ import annotations

import random

from weft.coordinator.sessions.agent_resources import MAX_USERS, AgentResources
from weft.coordinator.store.records import AttemptRef
from weft.coordinator.store.rules import Requirements


def ref(number: int) -> AttemptRef:
    return AttemptRef(f"t{number}", 1)


def test_ten_tenths_fit_and_an_eleventh_does_not() -> None:
    resources = AgentResources({"gpu": 1.0})
    tenth = Requirements.of({}, {}, {"gpu": 0.1})
    for number in range(10):
        assert tenth.fits(resources.left)
        resources.take(ref(number), tenth.consumes)
    assert not tenth.fits(resources.left)
    resources.give_back(ref(3))
    assert tenth.fits(resources.left)


def test_nothing_drifts() -> None:
    chance, resources, held = random.Random(1), AgentResources({"a": 7.3, "b": 4e9}), list[int]()
    for number in range(2000):
        resources.take(ref(number), (("a", chance.random()), ("b", chance.uniform(1, 1e6))))
        held.append(number)
        while held and chance.random() < 0.6:
            resources.give_back(ref(held.pop(chance.randrange(len(held)))))
    for number in held:
        resources.give_back(ref(number))
    assert resources.left == resources.declared == {"a": 7.3, "b": 4e9}
    assert not resources.users


def test_an_agent_that_declares_less_than_before() -> None:
    resources = AgentResources({"gpu": 1.0})
    for number in range(MAX_USERS + 1):
        resources.take(ref(number), (("gpu", 1.0), ("disk", 1.0)))
    assert resources.left["gpu"] == -MAX_USERS
    (use,) = resources.use()
    assert (use.resource, use.declared, use.used, len(use.users)) == ("gpu", 1.0, MAX_USERS + 1, MAX_USERS)
    resources.give_back(ref(10_000))
    assert resources.left["disk"] == -(MAX_USERS + 1)


def test_overrun_handlers_keep_what_they_use() -> None:
    resources = AgentResources({"gpu": 2.0, "ram": 1.0})
    resources.take(AttemptRef("t", 1), (("gpu", 1.0),))
    resources.set_stuck({"gpu": 1.0})
    assert (resources.left, resources.used("gpu")) == ({"gpu": 0.0, "ram": 1.0}, 2.0)
    (use, _) = resources.use()
    assert (use.used, [user.task_id for user in use.users]) == (2.0, ["t"])
    resources.set_stuck({"ram": 0.4})
    assert resources.left == {"gpu": 1.0, "ram": 0.6}
    resources.set_stuck({})
    assert resources.left == {"gpu": 1.0, "ram": 1.0}
