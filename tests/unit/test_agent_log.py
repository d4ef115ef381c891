"""The log of agents, as a pure structure: what a watcher at any position is told leads to what is there."""

from __future__ import annotations

import random

from weft.coordinator.fleet.agent_log import AgentLog
from weft.v1 import fleet_pb2

ACTIVE = fleet_pb2.AGENT_STATE_ACTIVE
SUSPECT = fleet_pb2.AGENT_STATE_SUSPECT


def agent(agent_id, *methods, state=ACTIVE):
    hosted = [fleet_pb2.HostedMethod(name=name) for name in methods]
    return fleet_pb2.Agent(id=agent_id, state=state, methods=hosted)


def test_a_change_is_news_once_and_the_same_again_is_none():
    log = AgentLog()
    assert log.put(agent("a", "m"))
    seen = log.position
    assert not log.put(agent("a", "m"))
    assert log.position == seen
    assert log.since(seen).agents == []
    assert log.put(agent("a", "m", state=SUSPECT))
    assert [each.state for each in log.since(seen).agents] == [SUSPECT]


def test_only_the_newest_of_several_changes_is_told():
    log = AgentLog()
    log.put(agent("a", "m"))
    log.put(agent("b", "m"))
    seen = log.position
    for state in (SUSPECT, ACTIVE, fleet_pb2.AGENT_STATE_DRAINING):
        log.put(agent("a", "m", state=state))
    news = log.since(seen)
    assert [(each.id, each.state) for each in news.agents] == [("a", fleet_pb2.AGENT_STATE_DRAINING)]
    assert news.removed == []


def test_who_is_gone_is_told_once_and_not_when_it_is_back():
    log = AgentLog()
    log.put(agent("a", "m"))
    seen = log.position
    assert log.remove("a")
    assert not log.remove("a")
    assert log.since(seen).removed == ["a"]
    log.put(agent("a", "m"))
    news = log.since(seen)
    assert ([each.id for each in news.agents], news.removed) == (["a"], [])


def test_a_filter_hides_others_and_tells_of_a_method_that_is_hosted_no_more():
    log = AgentLog()
    log.put(agent("a", "m", "n"))
    log.put(agent("b", "n"))
    m, n = frozenset({"m"}), frozenset({"n"})
    assert [each.id for each in log.all(m)] == ["a"]
    seen = log.position
    log.put(agent("b", "n", state=SUSPECT))
    assert log.since(seen, m).agents == []
    log.put(agent("a", "n"))
    assert log.since(seen, m).removed == ["a"]
    assert [each.id for each in log.since(seen, n).agents] == ["b", "a"]
    assert log.since(seen, n).removed == []
    log.remove("b")
    assert log.since(seen, m).removed == ["a"]
    assert log.since(seen, n).removed == ["b"]


def test_positions_that_it_does_not_know():
    log = AgentLog(most_gone=2)
    for name in "abc":
        log.put(agent(name, "m"))
    seen = log.position
    assert log.since(seen + 1) is None
    for name in "abc":
        log.remove(name)
    # The first departure is forgotten.
    assert log.since(seen) is None
    assert log.since(seen + 1).removed == ["b", "c"]


def test_any_watcher_ends_up_with_what_is_there():
    """Watchers that look now and then, with every filter, against a model."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log = AgentLog(most_gone=30)
    methods = ["m", "n", "o"]
    filters = [frozenset(rng.sample(methods, count)) for count in (0, 1, 2, 3)]
    watchers = [[wanted, 0, {}] for wanted in filters for _ in range(3)]
    model = {}
    refused = 0
    for _ in range(3000):
        agent_id = f"a{rng.randrange(12)}"
        if rng.random() < 0.3:
            log.remove(agent_id)
            model.pop(agent_id, None)
        else:
            state = rng.choice([ACTIVE, SUSPECT])
            made = agent(agent_id, *rng.sample(methods, rng.randrange(1, 4)), state=state)
            log.put(made)
            model[agent_id] = made
        watcher = rng.choice(watchers)
        if rng.random() < 0.2:
            refused += look(log, watcher)
            wanted, _, known = watcher
            assert known == {
                key: each
                for key, each in model.items()
                if not wanted or wanted & {method.name for method in each.methods}
            }
    assert refused, "some came too late"


def look(log, watcher):
    wanted, position, known = watcher
    news = log.since(position, wanted)
    watcher[1] = log.position
    if news is None:
        watcher[2] = {each.id: each for each in log.all(wanted)}
        return True
    for agent_id in news.removed:
        known.pop(agent_id, None)
    known.update({each.id: each for each in news.agents})
    return False
