"""The bound on an answer's metadata: a failure always keeps its code and message."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings

from weft.agent.handlers import outcomes
from weft.rpc.calls import answer_size
from weft.rpc.errors import ResourceExhausted, error_info, retry_after_s
from weft.v1 import task_pb2

LIMIT = 64 * 1024
SIZES = st.integers(0, 2 * LIMIT)
ENTRIES = st.lists(st.tuples(st.sampled_from(["x-a", "x-raw-bin"]), SIZES), max_size=3)


def entries(given_sizes: list[tuple[str, int]]) -> list[task_pb2.Metadatum]:
    return [task_pb2.Metadatum(key=key, value=b"v" * size) for key, size in given_sizes]


def carried(outcome: task_pb2.Outcome) -> tuple[int, int]:
    """Bytes of the initial metadata, and of the trailers with the status."""
    status = outcome.status
    trailers = answer_size.metadata_bytes(outcome.trailers) + answer_size._text_bytes(status.message)
    return answer_size.metadata_bytes(outcome.headers), trailers + answer_size._details_bytes(outcome)


@settings(deadline=None)
@given(st.text(max_size=3), SIZES, st.lists(SIZES, max_size=3), ENTRIES, ENTRIES)
def test_a_failure_keeps_its_code_and_what_has_room(piece, size, details, headers, trailers):
    message = piece * (size // (len(piece) or 1))
    given_status = status_pb2.Status(code=9, message=message)
    given_status.details.extend(any_pb2.Any(type_url="t/x.Y", value=b"d" * each) for each in details)
    outcome = task_pb2.Outcome(status=given_status, headers=entries(headers), trailers=entries(trailers))
    before = task_pb2.Outcome.FromString(outcome.SerializeToString())
    fitted = max(carried(outcome)) <= LIMIT
    answer_size.fit(outcome, LIMIT)
    assert max(carried(outcome)) <= LIMIT
    assert outcome.status.code == 9
    if fitted:
        assert outcome == before
        return
    assert message.startswith(outcome.status.message.partition(" (left out")[0])
    assert "left out" in outcome.status.message
    info = error_details_pb2.ErrorInfo()
    assert outcome.status.details[-1].Unpack(info)
    assert (info.reason, info.domain) == ("METADATA_LEFT_OUT", "weft")
    once = task_pb2.Outcome.FromString(outcome.SerializeToString())
    answer_size.fit(outcome, LIMIT)
    assert outcome == once


def test_small_details_stay_where_a_large_one_has_no_room():
    outcome = task_pb2.Outcome(status=status_pb2.Status(code=14, message="away"))
    for detail in (
        error_details_pb2.ErrorInfo(reason="WHY", domain="acme"),
        error_details_pb2.DebugInfo(detail="x" * answer_size.MAX_ANSWER_BYTES),
        error_details_pb2.RetryInfo(retry_delay={"seconds": 3}),
    ):
        outcome.status.details.add().Pack(detail)
    answer_size.fit(outcome)
    assert retry_after_s(outcome.status) == 3
    info = error_info(outcome.status)
    assert info is not None
    assert info.reason == "WHY"
    assert outcome.status.message.startswith(
        "away (left out, for an answer carries 1032192 bytes of metadata: status"
    )


@pytest.mark.parametrize("where", ["headers", "trailers"])
def test_a_success_with_too_much_metadata_is_a_failure_that_says_what(where: str):
    outcome = task_pb2.Outcome(response=b"r", **{where: entries([("x-a", LIMIT)])})
    with pytest.raises(ResourceExhausted, match=r"metadata is 65571 bytes; an answer carries 65536"):
        answer_size.fit(outcome, LIMIT)
    bounded = outcomes.bounded(outcome, LIMIT, LIMIT)
    assert (bounded.status.code, bounded.response) == (8, b"")
