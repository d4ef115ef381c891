"""Questions of what would be: what a model is told, what is taken from its reply, and what rules answer."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from google.protobuf import json_format

from tests.support.machine_samples import GIB, healthy
from weft.services.hardware.thresholds import Bounds
from weft.services.hardware.v1 import hardware_pb2
from weft.services.hardware.what_if import predict, what_if
from weft.services.hardware.what_if_words import (
    REPLY_SCHEMA,
    beyond_all,
    question_of,
    read_reply,
    rule_answer,
)

WORK = {"add_work": {"cpu_cores": 7, "memory_bytes": 40 * GIB, "copies": 1}}
EVERY = [
    WORK,
    {"end_process": {"process_id": 7}},
    {"resize": {"logical_cores": 8, "memory_limit_bytes": GIB}},
    {"free_disk": {"mount": "/", "freed_bytes": GIB}},
]


def asked(*changes: dict[str, Any], present: hardware_pb2.Snapshot | None = None) -> Any:
    request = hardware_pb2.AskWhatIfRequest(question="is there room?")
    for each in changes:
        json_format.ParseDict(each, request.changes.add())
    present = present or healthy()
    return request, what_if(present, predict(present, request.changes), Bounds())


def test_a_model_is_told_figures_and_sums_and_no_names() -> None:
    present = healthy()
    present.host.name, present.host.agent_id = "secret-host", "secret-agent"
    present.processes.add(process_id=7, name="python", user="secret-user", memory_bytes=GIB)
    told = question_of(*asked(WORK, present=present))
    assert told.startswith("Question: is there room?\nFigures: {")
    assert "python" in told
    assert "Sum: The work adds 7.0 cores of load." in told
    assert "There is no room for it. Work runs at 50 % of its speed." in told
    assert "secret" not in told
    # Without changes, there is nothing to tell of them.
    assert "Sum:" not in question_of(*asked())


def test_the_schema_of_replies_is_that_of_changes() -> None:
    reply = {"answer": "No.", "changes": EVERY}
    jsonschema.validate(reply, REPLY_SCHEMA)
    read = read_reply(json.dumps(reply))
    assert [each.WhichOneof("kind") for each in read.changes] == [next(iter(each)) for each in EVERY]
    assert (read.answer, read.notes) == ("No.", [])


@pytest.mark.parametrize(
    ("text", "answer", "note"),
    [
        ("Surely.", "Surely.", ""),
        ('Well: {"answer": " yes "} as I said', "yes", ""),
        ("", "", ""),
        ('{"answer": 7}', "", ""),
        ('{"answer": "a", "changes": {"add_work": {}}}', "a", ""),
        ('{"answer": "a", "changes": [7]}', "a", "A change of the model was left out"),
        ('{"answer": "a", "changes": [{}]}', "a", "exactly one field is required"),
        ('{"answer": "a", "changes": [{"add_work": {"cpu_cores": -1}}]}', "a", "add_work.cpu_cores"),
        ('{"answer": "a", "changes": [{"add_work": {"cpu_cores": NaN}}]}', "a", "left out"),
        ('{"answer": "a", "changes": [{"reboot": {}}]}', "a", "reboot"),
        ("{" * 5000 + "}", "{" * 5000 + "}", ""),
    ],
)
def test_what_is_taken_from_a_reply(text: str, answer: str, note: str) -> None:
    read = read_reply(text)
    assert (read.answer, read.changes) == (answer, [])
    assert note in " ".join(read.notes)
    assert bool(read.notes) is bool(note)


def test_rules_answer_in_sentences() -> None:
    _, found = asked(WORK)
    answer = rule_answer(found, changed=True)
    assert answer.startswith("The work adds 7.0 cores of load. The work takes 40.0 GiB of memory.")
    assert "There is no room for it. Work runs at 50 % of its speed." in answer
    _, found = asked()
    assert rule_answer(found, changed=False) == (
        "No change was computed: only a model understands a question, so give `changes`. Nothing is past its threshold."
    )


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({}, ""),
        ({"processor": {"use_ratio": float("nan")}}, "snapshot.processor.use_ratio"),
        ({"memory": {"size_bytes": 2**63}}, "snapshot.memory.size_bytes"),
        ({"disks": [{"mount": "/"}, {"busy_ratio": float("inf")}]}, "snapshot.disks.busy_ratio"),
        ({"hidden": ["x"] * 1025}, "snapshot.hidden"),
    ],
)
def test_figures_that_no_machine_has(wrong: dict[str, Any], where: str) -> None:
    assert beyond_all(hardware_pb2.Snapshot(**wrong)) == where
