"""The log of changes, as a pure structure: from any position, the changes lead to the present agents."""

from __future__ import annotations

import random

from weft.coordinator.fleet.change_log import ChangeLog


def test_a_change_is_news_once():
    log = ChangeLog()
    log.put("a", {"m"})
    seen = log.position
    assert log.since(seen).changed == []
    log.put("a", {"m"})
    assert log.since(seen).changed == ["a"]
    assert log.since(log.position).changed == []


def test_the_last_of_several_changes_decides_on_the_order():
    log = ChangeLog()
    log.put("a", {"m"})
    log.put("b", {"m"})
    seen = log.position
    for agent_id in "abab":
        log.put(agent_id, {"m"})
    assert log.since(seen) == (["a", "b"], [])
    assert log.ids() == ["a", "b"]


def test_who_is_gone_is_told_once_and_not_when_it_is_back():
    log = ChangeLog()
    log.put("a", {"m"})
    seen = log.position
    log.remove("a")
    gone = log.position
    log.remove("a")
    assert log.position == gone
    assert log.since(seen).removed == ["a"]
    log.put("a", {"m"})
    assert log.since(seen) == (["a"], [])


def test_a_filter_hides_others_and_tells_of_a_method_that_is_hosted_no_more():
    log = ChangeLog()
    log.put("a", {"m", "n"})
    log.put("b", {"n"})
    m, n = frozenset({"m"}), frozenset({"n"})
    assert log.ids(m) == ["a"]
    seen = log.position
    log.put("b", {"n"})
    assert log.since(seen, m).changed == []
    log.put("a", {"n"})
    assert log.since(seen, m).removed == ["a"]
    assert log.since(seen, n) == (["b", "a"], [])
    log.remove("b")
    assert log.since(seen, m).removed == ["a"]
    assert log.since(seen, n).removed == ["b"]


def test_positions_that_it_does_not_know():
    log = ChangeLog(max_departures=2)
    for name in "abc":
        log.put(name, {"m"})
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
    log = ChangeLog(max_departures=30)
    methods = ["m", "n", "o"]
    filters = [frozenset(rng.sample(methods, count)) for count in (0, 1, 2, 3)]
    watchers = [[asked, 0, {}] for asked in filters for _ in range(3)]
    # The version and the methods of each agent.
    model = {}
    refused = 0
    for version in range(3000):
        agent_id = f"a{rng.randrange(12)}"
        if rng.random() < 0.3:
            log.remove(agent_id)
            model.pop(agent_id, None)
        else:
            hosted = frozenset(rng.sample(methods, rng.randrange(1, 4)))
            log.put(agent_id, hosted)
            model[agent_id] = version, hosted
        watcher = rng.choice(watchers)
        if rng.random() < 0.2:
            refused += look(log, model, watcher)
            asked, _, known = watcher
            assert known == {key: each for key, each in model.items() if not asked or asked & each[1]}
    assert refused, "some came too late"


def look(log, model, watcher):
    asked, position, known = watcher
    changes = log.since(position, asked)
    watcher[1] = log.position
    if changes is None:
        watcher[2] = {agent_id: model[agent_id] for agent_id in log.ids(asked)}
        return True
    for agent_id in changes.removed:
        known.pop(agent_id, None)
    known.update({agent_id: model[agent_id] for agent_id in changes.changed})
    return False
