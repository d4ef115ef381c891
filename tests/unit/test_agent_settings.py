"""Settings: arguments before environment before defaults, and refused values."""

from __future__ import annotations

import re
from typing import Any

import pytest

from weft.agent import Agent
from weft.rpc.errors import InvalidArgument


def test_defaults() -> None:
    settings = Agent().settings

    assert settings.target == ("127.0.0.1:7700",)
    assert re.fullmatch(r"[A-Za-z0-9._-]+-[0-9a-f]{6}", settings.id)
    assert Agent().id != Agent().id
    assert settings.slots >= 1
    assert (settings.prefetch, settings.drain_grace_s) == (0, 30.0)
    assert (settings.labels, settings.resources) == ({}, {})


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_AGENT_ID", "from-env")
    monkeypatch.setenv("WEFT_AGENT_SLOTS", "7")
    monkeypatch.setenv("WEFT_AGENT_LABELS", "zone=eu, tier=a")
    monkeypatch.setenv("WEFT_AGENT_RESOURCES", '{"gpu": 2}')
    monkeypatch.setenv("WEFT_TARGET", "one:1, two:2")

    settings = Agent(slots=3).settings
    assert (settings.id, settings.slots) == ("from-env", 3)
    assert settings.target == ("one:1", "two:2")
    assert settings.labels == {"zone": "eu", "tier": "a"}
    assert settings.resources == {"gpu": 2.0}
    monkeypatch.setenv("WEFT_AGENT_TARGET", "three:3")
    assert Agent().settings.target == ("three:3",)
    assert Agent(target="four:4").settings.target == ("four:4",)


def test_configure_changes_what_it_names_and_keeps_the_rest() -> None:
    agent = Agent(slots=3, labels={"zone": "eu"})
    drawn = agent.id
    agent.configure(target="host:1", labels=None, drain_grace_s=1.5)

    assert (agent.id, agent.settings.slots, agent.settings.labels) == (drawn, 3, {"zone": "eu"})
    assert (agent.settings.target, agent.settings.drain_grace_s) == (("host:1",), 1.5)
    agent.configure(agent_id="other")
    assert agent.id == "other"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"agent_id": "no spaces"}, "id"),
        ({"agent_id": "x" * 129}, "id"),
        ({"slots": 0}, "slots"),
        ({"slots": 100_001}, "slots"),
        ({"prefetch": -1}, "prefetch"),
        ({"target": ""}, "target"),
        ({"drain_grace_s": -1}, "drain_grace_s"),
        ({"drain_grace_s": float("nan")}, "drain_grace_s"),
        ({"labels": {str(each): "" for each in range(65)}}, "labels"),
        ({"resources": {"gpu": "many"}}, "resources"),
    ],
)
def test_values_that_cannot_be_are_refused(settings: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidArgument, match=names):
        Agent(**settings)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="slot_count"):
        Agent().configure(slot_count=3)


@pytest.mark.parametrize("text", ["zone", "=eu", "zone=eu,,x"])
def test_labels_that_are_not_pairs_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WEFT_AGENT_LABELS", text)
    with pytest.raises(InvalidArgument, match="labels"):
        Agent()
