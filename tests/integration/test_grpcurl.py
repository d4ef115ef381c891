"""A newcomer with grpcurl and no protos at hand: everything is found, called and explained by the coordinator alone."""

from __future__ import annotations

import json

import pytest

from tests.support.mesh import MeshHarness
from tests.support.reflecting import find_grpcurl, grpcurl

CALL = "probe.v1.ProbeService/Call"


@pytest.fixture
def installed() -> None:
    """Looked for before a mesh is started for nothing."""
    find_grpcurl()


@pytest.fixture
def target(installed: None, running_mesh: MeshHarness) -> str:
    return running_mesh.target


async def test_a_hosted_service_from_list_to_call(target):
    code, printed = await grpcurl(target, ["list"])
    assert code == 0, printed
    assert {"probe.v1.ProbeService", "weft.v1.CoordinatorService"} <= set(printed.split())

    code, printed = await grpcurl(target, ["describe", "probe.v1.ProbeService.Call"])
    assert code == 0, printed
    assert "rpc Call ( .probe.v1.ProbeRequest ) returns ( .probe.v1.ProbeReply );" in printed

    code, printed = await grpcurl(target, [CALL], ["-d", '{"text": "hello"}'])
    assert code == 0, printed
    reply = json.loads(printed)
    assert reply["text"] == "hello"
    assert reply["agent_id"] == "a1"

    code, printed = await grpcurl(
        target, ["weft.v1.CoordinatorService/GetTask"], ["-d", json.dumps({"task_id": reply["task_id"]})]
    )
    assert code == 0, printed
    assert json.loads(printed)["task"]["state"] == "TASK_STATE_SUCCEEDED"

    code, printed = await grpcurl(
        target, ["grpc.health.v1.Health/Check"], ["-d", '{"service": "probe.v1.ProbeService"}']
    )
    assert code == 0, printed
    assert json.loads(printed) == {"status": "SERVING"}


async def test_trailers_say_which_task_it_was(target):
    code, printed = await grpcurl(target, [CALL], ["-v", "-d", "{}", "-H", "weft-request-id: once"])
    assert code == 0, printed
    assert "weft-task-id: " in printed
    assert "weft-attempt: 1" in printed
    assert "weft-agent: a1" in printed


async def test_a_stream_and_a_failing_call(target):
    code, printed = await grpcurl(target, ["probe.v1.ProbeService/Stream"], ["-d", '{"stream_count": 3}'])
    assert code == 0, printed
    assert printed.count('"index"') == 3

    request = {"fail_code": 9, "fail_message": "not today", "fail_reason": "CLOSED"}
    code, printed = await grpcurl(target, [CALL], ["-d", json.dumps(request)])
    assert code == 64 + 9
    assert "Code: FailedPrecondition" in printed
    assert "Message: not today" in printed
    assert '"reason": "CLOSED"' in printed


async def test_wrong_calls_are_explained(target):
    code, printed = await grpcurl(target, ["probe.v1.ProbeService/Cal"], ["-d", "{}"])
    assert code != 0
    assert 'does not include a method named "Cal"' in printed

    code, printed = await grpcurl(
        target, ["weft.v1.CoordinatorService/SubmitTask"], ["-d", '{"method": "probe.v1.ProbeService/Cal"}']
    )
    assert code == 64 + 5
    assert f"did you mean {CALL}" in printed
    assert '"reason": "METHOD_UNKNOWN"' in printed

    code, printed = await grpcurl(
        target,
        ["weft.v1.CoordinatorService/SubmitTask"],
        ["-d", json.dumps({"method": CALL, "payload": "/w=="})],
    )
    assert code == 64 + 3
    assert '"reason": "PAYLOAD_MALFORMED"' in printed
    assert '"field": "payload"' in printed
