"""The reason why a queue's tasks wait, by the standing of the fleet."""

from __future__ import annotations

import pytest

from weft.coordinator.fleet.agent_register import AgentStanding
from weft.coordinator.fleet.queue_explainer import queue_wait
from weft.coordinator.store.rules import QueueKey, Requirements
from weft.v1 import fleet_pb2

METHOD = "acme.v1.Greeter/Greet"


@pytest.mark.parametrize(
    ("standing", "require", "paused", "reason", "words"),
    [
        ((0, 0, 0, 0), {}, True, "PAUSED", "`weft queues resume acme.v1.Greeter/Greet`"),
        ((3, 3, 3, 3), {}, True, "PAUSED", "is paused"),
        ((0, 0, 0, 0), {}, False, "NO_AGENT", f"no agent is connected that hosts {METHOD}"),
        ((3, 0, 0, 0), {"zone": "eu"}, False, "NO_AGENT", f"no agent with zone=eu (3 agents host {METHOD})"),
        ((1, 0, 0, 0), {"zone": "eu"}, False, "NO_AGENT", f"no agent with zone=eu (1 agent hosts {METHOD})"),
        ((1, 0, 0, 0), {}, False, "NO_AGENT", "no agent has enough slots for it"),
        ((3, 2, 0, 0), {}, False, "NO_AGENT", "none of 2 agents takes work now"),
        ((3, 2, 2, 0), {}, False, "AGENTS_BUSY", "all 2 agents for it are busy"),
        ((1, 1, 1, 0), {}, False, "AGENTS_BUSY", "the only agent for it is busy"),
        ((1, 1, 1, 1), {}, False, "TURN", "an agent has a free slot"),
    ],
)
def test_a_queue_says_what_it_waits_for(
    standing: tuple[int, int, int, int], require: dict[str, str], paused: bool, reason: str, words: str
) -> None:
    key = QueueKey(METHOD, Requirements.of(require, {}))
    wait = queue_wait(key, AgentStanding(*standing), paused=paused)
    assert fleet_pb2.WaitReason.Name(wait.reason) == f"WAIT_REASON_{reason}"
    assert words in wait.text
