"""What the hardware service reads beside plain requests: machines of others, and what models write."""

from __future__ import annotations

from google.protobuf import json_format

from tests.fuzz.target import target, text_of
from tests.support.machine_samples import GIB, healthy
from weft.services.hardware.thresholds import Bounds
from weft.services.hardware.v1 import hardware_pb2
from weft.services.hardware.what_if import UnknownSubjectError, predict, what_if
from weft.services.hardware.what_if_words import question_of, read_reply, read_snapshot, rule_answer

_CHANGES = [
    hardware_pb2.Change(add_work={"copies": 3, "cpu_cores": 2, "memory_bytes": 8 * GIB}),
    hardware_pb2.Change(resize={"logical_cores": 2, "memory_bytes": GIB, "memory_limit_bytes": GIB}),
]


@target(
    "weft/services/hardware/what_if",
    seeds=lambda: [json_format.MessageToJson(healthy()).encode()],
    raises=(ValueError,),
    max_bytes=4096,
)
def given_machine(data: bytes) -> None:
    present = read_snapshot(text_of(data))
    request = hardware_pb2.AskWhatIfRequest(question="?", changes=_CHANGES)
    found = what_if(present, predict(present, _CHANGES), Bounds())
    assert question_of(request, found)
    assert rule_answer(found, changed=True)


@target(
    "weft/services/hardware/what_if_words",
    seeds=lambda: [
        b'{"answer": "yes", "changes": [{"add_work": {"cpu_cores": 2}}, {"free_disk": {"mount": "/", "freed_bytes": 1}}]}',
        b"I think so.",
    ],
    max_bytes=2048,
)
def model_reply(data: bytes) -> None:
    reply = read_reply(text_of(data))
    try:
        predict(healthy(), reply.changes)
    except UnknownSubjectError:
        return
