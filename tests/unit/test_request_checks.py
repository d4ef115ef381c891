from __future__ import annotations

import pytest

from weft.coordinator.groups.group_codec import callback_request
from weft.coordinator.policy.cached_requests import share
from weft.coordinator.request_checks import bad_request_id, is_callers_id
from weft.coordinator.schedules.schedule_codec import run_request, tick_request
from weft.coordinator.store.records import Submission
from weft.rpc.task_policy.option_checks import RESERVED_IDS
from weft.v1 import group_pb2, schedule_pb2


def _cached_id() -> str:
    submission = Submission("t.v1.Service/Call", b"", "t1")
    share(submission, b"digest", 60.0)
    return submission.request_id


# Ids that coordinators make, each by the code that makes it.
OWN_IDS = [
    _cached_id(),
    callback_request("g", "uid", group_pb2.GroupCallback()).request_id,
    tick_request(schedule_pb2.Schedule(uid="uid"), 1.0).request_id,
    run_request(schedule_pb2.Schedule(uid="uid"), 1.0, "mine").request_id,
]


@pytest.mark.parametrize("request_id", ["", "with space", "x" * 129, "tab\t", "line\n", "ü", *OWN_IDS])
def test_request_ids_that_no_caller_has(request_id: str) -> None:
    assert not is_callers_id(request_id)


@pytest.mark.parametrize(
    "request_id", ["a", "x" * 128, "group", "schedules.1", "my-cache:1", "t.v1.Service/Call:1"]
)
def test_request_ids_of_callers(request_id: str) -> None:
    assert is_callers_id(request_id)


def test_the_refusal_names_the_field_and_what_is_reserved() -> None:
    error = bad_request_id("weft-request-id")
    assert error.field == "weft-request-id"
    assert all(prefix in error.message for prefix in RESERVED_IDS)
