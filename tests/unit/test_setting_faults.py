"""Each wrong setting is one plain line: its name, its value, the allowed values, and nothing in the words of a library.

The table is generated from the fields of the settings models, so a new setting is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings

from weft.agent import Agent
from weft.agent.errors import SettingsError
from weft.agent.settings import AgentSettings
from weft.agent.sidecar import sidecar_settings
from weft.agent.sidecar.sidecar_settings import SidecarAgentSettings, SidecarSettings
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.setting_faults import setting_faults
from weft.testing import mesh_of

MODELS: tuple[type[BaseSettings], ...] = (
    CoordinatorSettings,
    AgentSettings,
    SidecarAgentSettings,
    SidecarSettings,
)
SECRET = "hunter2"

# Words of the validation library that tell a user of weft nothing.
FOREIGN = re.compile(r"Input|should|valid|parse|pydantic|errors\.|Value error|extra_forbidden", re.IGNORECASE)

# Values that some field of this kind refuses; a field is left out where it takes all of them.
BY_KIND: dict[Any, tuple[Any, ...]] = {
    int: ("many", "1.5", "", -1, 2**70, None),
    float: ("long", "", "nan", -1.0, float("inf")),
    bool: ("perhaps", "", 7),
    str: (5, b"\xff", ["a"], "", "a\x1b b", "x:y:z", "unix:/" + "s" * 200, "h" * 3000),
    Path: (5, ["a"]),
    dict[str, str]: ("zone", "{", "[]", "=a", {"zone": 5}, 5, {str(n): "" for n in range(65)}),
    dict[str, float]: ("gpu", "{", "gpu=x", {"gpu": "x"}, 5, {str(n): 1.0 for n in range(65)}),
    tuple[str, ...]: ("a b:c:d", "/", 5, [5]),
}


def _kind(annotation: Any) -> Any:
    kinds = [part for part in get_args(annotation) if part is not type(None)]
    return kinds[0] if type(None) in get_args(annotation) else annotation


def _wrong() -> Iterator[Any]:
    for model in MODELS:
        for name, field in model.model_fields.items():
            kind = _kind(field.annotation)
            values = ("no such", "", 5) if get_origin(kind) is Literal else BY_KIND.get(kind, (5,))
            for number, value in enumerate(values):
                yield pytest.param(model, name, value, id=f"{model.__name__}-{name}-{number}")


def _faults(model: type[BaseSettings], **given: Any) -> list[str]:
    try:
        model(**given)
    except ValidationError as error:
        return [str(fault) for fault in setting_faults(error.errors(include_url=False), model.model_fields)]
    return []


@pytest.mark.parametrize(("model", "name", "value"), list(_wrong()))
def test_a_wrong_value(model: type[BaseSettings], name: str, value: Any) -> None:
    for line in _faults(model, **{name: value}):
        assert line.startswith(f"{name}: "), line
        assert "\n" not in line
        assert "\x1b" not in line
        assert not FOREIGN.search(line.replace(repr(value), "")), line
        assert len(line) < 600, line


def test_each_kind_of_field_is_refused_something() -> None:
    """The table above would pass if nothing were refused."""
    for model in MODELS:
        for name, field in model.model_fields.items():
            kind = _kind(field.annotation)
            values = ("no such",) if get_origin(kind) is Literal else BY_KIND.get(kind, (5,))
            assert any(_faults(model, **{name: value}) for value in values), f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    ("model", "name", "value", "line"),
    [
        (CoordinatorSettings, "log_level", "loud", "log_level: 'loud' is not one of debug, info, warning, error"),
        (CoordinatorSettings, "max_calls", "x", "max_calls: 'x' is not a whole number from 1 to 50000"),
        (CoordinatorSettings, "max_agents", 0, "max_agents: 0 is not a whole number of at least 1"),
        (CoordinatorSettings, "heartbeat_interval_s", 0, "heartbeat_interval_s: 0 is not a number from 0.1 to 60"),
        (
            CoordinatorSettings,
            "store_prefix",
            "",
            "store_prefix: '' is not text of 1 to 64 characters that matches ^[A-Za-z0-9_.:-]+$",
        ),
        (CoordinatorSettings, "listne", "a:1", "listne: there is no such setting; the nearest is listen"),
        (AgentSettings, "use_proxy", "perhaps", "use_proxy: 'perhaps' is not true or false"),
        (AgentSettings, "labels", "{", "labels: '{' is not a JSON object: Expecting property name"),
        (AgentSettings, "resources", "gpu=x", "resources: gpu: 'x' is not a number"),
        (AgentSettings, "labels", {str(n): "" for n in range(65)}, "labels: has more than 64 entries"),
        (AgentSettings, "slots", "9" * 500, f"slots: '{'9' * 78}… is not a whole number from 1 to 100000"),
        (SidecarSettings, "app", "x", "app: 'x' has no port"),
    ],
)  # fmt: skip
def test_the_line(model: type[BaseSettings], name: str, value: Any, line: str) -> None:
    (found,) = _faults(model, **{name: value})
    assert found.startswith(line)


def test_several_wrong_settings_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_AGENT_PREFETCH", "some")
    monkeypatch.setenv("WEFT_TARGET", "a:b:c")
    with pytest.raises(SettingsError) as refused:
        Agent(slots=0)
    message = refused.value.message
    assert "slots: 0 is not a whole number from 1 to 100000" in message
    assert "prefetch: 'some' is not a whole number" in message
    assert "target: " in message
    with pytest.raises(SettingsError, match=r"sidecar setting app: .*; max_calls: 0 is not a whole number"):
        sidecar_settings(app="x", max_calls=0)


async def test_a_mesh_of_tests_names_wrong_settings() -> None:
    with pytest.raises(InvalidArgument, match="coordinator setting log_level: 'loud' is not one of debug"):
        async with mesh_of(log_level="loud"):
            pass


def test_secrets_are_not_shown() -> None:
    class WithSecret(BaseModel):
        key: int = Field(1, repr=False)

    with pytest.raises(ValidationError) as refused:
        WithSecret(key=SECRET)  # type: ignore[arg-type]
    (fault,) = setting_faults(refused.value.errors(), WithSecret.model_fields)
    assert str(fault) == "key: the value is not a whole number"
    for name in ("store", "store_username", "store_password"):
        (line,) = _faults(CoordinatorSettings, **{name: [SECRET]})
        assert SECRET not in line
        assert line.startswith(f"{name}: the value is not ")
    together = _faults(CoordinatorSettings, store=f"redis://:{SECRET}@h/0", durability="full")
    assert together == ["durability: 'full' is not possible. A Redis store has fast or durable or replicated"]
