"""What a queue's tasks wait for, by how the fleet stands to it."""

from __future__ import annotations

import pytest

from weft.coordinator.fleet.agent_standing import AgentStanding, lacking
from weft.coordinator.fleet.queue_explainer import queue_wait
from weft.coordinator.store.rules import QueueKey, Requirements
from weft.v1 import fleet_pb2

METHOD = "acme.v1.Greeter/Greet"
EU = QueueKey(METHOD, Requirements.of({"zone": "eu"}, {}))
GPU = QueueKey(METHOD, Requirements.of({"zone": "eu"}, {"gpu": 2}))
PLAIN, RETRY = QueueKey(METHOD), QueueKey(METHOD, avoid="a1")
S = AgentStanding


@pytest.mark.parametrize(
    ("key", "standing", "paused", "reason", "words"),
    [
        (
            PLAIN,
            S(),
            True,
            "PAUSED",
            f"{METHOD} to be resumed: it is paused, and `weft queues resume {METHOD}`",
        ),
        (PLAIN, S(3, 3, 3, 3), True, "PAUSED", "it is paused"),
        (PLAIN, S(), False, "NO_AGENT", f"an agent that hosts {METHOD}; none is connected"),
        (EU, S(), False, "NO_AGENT", f"an agent with zone=eu that hosts {METHOD}; none is connected"),
        (
            EU,
            S(3),
            False,
            "NO_AGENT",
            f"an agent with zone=eu; 3 agents host {METHOD}, none has it (zone is us)",
        ),
        (EU, S(1), False, "NO_AGENT", f"an agent with zone=eu; 1 agent hosts {METHOD}, none has it"),
        (PLAIN, S(1), False, "NO_AGENT", "an agent with slots enough for one task of it; 1 agent"),
        (PLAIN, S(3, 2, draining=2), False, "NO_AGENT", f"of 2 agents for {METHOD}: 2 draining"),
        (
            PLAIN,
            S(9, 7, draining=1, paused=2, down=3),
            False,
            "NO_AGENT",
            "of 7 agents for acme.v1.Greeter/Greet: 1 draining, 2 paused, 3 without its app, 1 blocked or not back",
        ),
        (PLAIN, S(3, 2, 2), False, "AGENTS_BUSY", f"a free slot; all 2 agents for {METHOD} are busy"),
        (PLAIN, S(1, 1, 1), False, "AGENTS_BUSY", f"a free slot; the only agent for {METHOD} is busy"),
        (
            PLAIN,
            S(3, 3, 3, 1, ("a3",)),
            False,
            "AGENTS_BUSY",
            f"a free slot; 2 agents for {METHOD} are busy, and a3 gets few or none, because attempts there keep failing",
        ),
        (
            PLAIN,
            S(5, 5, 5, 5, ("a1", "a2", "a3", "a4", "a5")),
            False,
            "AGENTS_BUSY",
            "a free slot; a1, a2, a3 and 2 more get few or none, because attempts there keep failing",
        ),
        (PLAIN, S(1, 1, 1, 1), False, "TURN", "its turn; an agent has a free slot"),
        (PLAIN, S(2, 2, 2, 2, ("a1",)), False, "TURN", "its turn; an agent has a free slot"),
        (
            RETRY,
            S(2, 2, 2, avoided="a1"),
            False,
            "AGENTS_BUSY",
            f"a free slot at another agent than a1, where its last attempt failed; all 2 other agents for {METHOD} are busy",
        ),
        (RETRY, S(1, 1, 1), False, "AGENTS_BUSY", f"a free slot; the only agent for {METHOD} is busy"),
    ],
)
def test_a_queue_says_what_it_waits_for(
    key: QueueKey, standing: AgentStanding, paused: bool, reason: str, words: str
) -> None:
    wait = queue_wait(key, standing, paused=paused, lacking="zone is us")
    assert fleet_pb2.WaitReason.Name(wait.reason) == f"WAIT_REASON_{reason}"
    assert words in wait.text


@pytest.mark.parametrize(
    ("agents", "told"),
    [
        ([({}, {})], "no zone; the most gpu is 0"),
        (
            [({"zone": "us"}, {"gpu": 1}), ({"zone": "ap"}, {"gpu": 1.5})],
            "zone is ap, us; the most gpu is 1.5",
        ),
        ([({"zone": each}, {"gpu": 9}) for each in "vwxyz"], "zone is v, w, x and 2 more"),
        ([({"zone": "eu"}, {}), ({"zone": "us"}, {"gpu": 2})], "not all of it at one agent"),
    ],
)
def test_what_the_agents_have_instead_is_told(
    agents: list[tuple[dict[str, str], dict[str, float]]], told: str
) -> None:
    made = [fleet_pb2.Agent(labels=labels, resources=resources) for labels, resources in agents]
    assert lacking(GPU, made) == told
    assert lacking(PLAIN, made) == "too few slots"


def test_what_a_task_uses_is_required() -> None:
    key = QueueKey(METHOD, Requirements.of({}, {}, {"gpu": 2}))
    assert lacking(key, [fleet_pb2.Agent(resources={"gpu": 1})]) == "the most gpu is 1"
    wait = queue_wait(key, S(1), paused=False, lacking="the most gpu is 1")
    assert wait.text == f"an agent with gpu:2; 1 agent hosts {METHOD}, none has it (the most gpu is 1)"
