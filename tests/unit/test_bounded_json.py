"""Nested JSON of others: one bound, on each Python, at every door."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.struct_pb2 import Struct

from weft.agent.handlers.process_messages import BadMessage, decode
from weft.cli.events import cloud_event_files
from weft.cli.graphs import graph_file
from weft.cli.rendering.step_view import value_of
from weft.cli.terminal.failure import Failure
from weft.client.task_steps import RecordedStep, StepKind
from weft.coordinator.access.access_file import PolicyFault, parse_policy
from weft.coordinator.access.jwt_signature import JwtFault, read_keys
from weft.coordinator.audit import audit_event
from weft.coordinator.hooks.hook_request import HookRequest, body_of
from weft.coordinator.hooks.hook_template import Template
from weft.rpc import bounded_json
from weft.rpc.contracts import json_form
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.settings_files import SettingsFileFault, find
from weft.services.models.backends.openai_messages import json_object
from weft.services.models.model_errors import ModelError
from weft.services.planner import rule_plan
from weft.services.research import corpus_reader, evidence, toolbox
from weft.services.sandboxes import box_answers

MOST = bounded_json.MAX_DEPTH
DEPTHS = (MOST + 1, 900, 2_000, 100_000)


def objects(depth: int, inner: str = "1") -> str:
    return '{"a":' * depth + inner + "}" * depth


def lists(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


@pytest.mark.parametrize("nested", [objects, lists])
def test_the_bound_is_exact(nested: Callable[[int], str]) -> None:
    for text in (nested(MOST), nested(MOST).encode()):
        assert bounded_json.loads(text) == json.loads(text)
    for depth in DEPTHS:
        for refused in (nested(depth), nested(depth).encode()):
            with pytest.raises(bounded_json.TooDeep):
                bounded_json.loads(refused)
    # Many beside each other are not deep.
    assert len(bounded_json.loads("[" + ",".join(["[[]]"] * 1000) + "]")) == 1000


def _toml(depth: int) -> str:
    return f"[{'.'.join(['a'] * depth)}]\nx = 1\n"


def _step(value: str) -> RecordedStep:
    return RecordedStep(1, "a", next(iter(StepKind)), 1, datetime.now(UTC), None, value.encode())


def _settings(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weft.toml").write_text(text)
        find(Path(folder), {})


# A door, and what it raises.
REFUSE: list[tuple[Callable[[str], Any], type[Exception]]] = [
    (lambda text: decode(text.encode() + b"\n"), BadMessage),
    (lambda text: Template(text[: 16 * 1024], "t"), InvalidArgument),
    (
        lambda text: body_of(HookRequest(text.encode(), {"content-type": "application/json"}, {})),
        InvalidArgument,
    ),
    (lambda text: json_form.parse(text, Struct, Default()), InvalidArgument),
    (cloud_event_files.of_json, ValueError),
    (lambda text: audit_event.record_of(text.encode()), ValueError),
    (lambda text: read_keys(text.encode()), JwtFault),
    (lambda text: json_object(text, "the schema"), ModelError),
    (evidence.draft_of_call, ValueError),
    (lambda text: corpus_reader.read_answer(text.encode()), ValueError),
    (lambda text: graph_file.parse(text[:20_000], "graph"), Failure),
]
# A door, and what it takes in the place of what is nested.
REPLACE: list[tuple[Callable[[str], Any], Any]] = [
    (toolbox._arguments, {}),
    (lambda text: box_answers.read_message(text.encode()), None),
    (lambda text: type(rule_plan._any_value(text)), str),
    (lambda text: value_of(_step(text))[-7:], " bytes)"),
]
OF_TOML: list[tuple[Callable[[str], Any], type[Exception]]] = [
    (lambda text: parse_policy(text, Path("policy")), PolicyFault),
    (_settings, SettingsFileFault),
]


@pytest.mark.slow
@pytest.mark.parametrize("depth", DEPTHS)
def test_every_door_refuses_more(depth: int) -> None:
    for index, (door, error) in enumerate(REFUSE):
        with pytest.raises(error) as raised:
            door(objects(depth))
        assert len(str(raised.value)) < 1000, index
    for door, instead in REPLACE:
        assert door(objects(depth)) == instead
    for door, error in OF_TOML:
        with pytest.raises(error, match=r"nested|deep|depth|recursion"):
            door(_toml(min(depth, 20_000)))


def test_what_is_filled_into_a_template_has_the_bound_too() -> None:
    template = Template(objects(60, '"${body}"'), "t")
    filled = template.filled({"body": json.loads(objects(60))})
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        json_form.parse(json.dumps(filled), Struct, Default())
