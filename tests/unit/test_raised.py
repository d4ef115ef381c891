"""Descriptions of exceptions: never empty, within the contract's bounds, also if their own methods raise."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts import layout
from tests.support.hostile import _RAISED, POISON, OwnBaseException, Untold
from weft.rpc import raised
from weft.rpc.errors import error_info, from_status, make_status, retry_after_s, unpacked
from weft.v1 import task_pb2


def told(error: BaseException) -> task_pb2.HandlerError:
    try:
        raise error
    except BaseException as caught:
        return raised.handler_error(caught)


def within_bounds(error: task_pb2.HandlerError) -> bool:
    return (
        len(error.type.encode()) <= raised.MAX_TYPE_BYTES
        and len(error.message.encode()) <= raised.MAX_MESSAGE_BYTES
        and len(error.stack.encode()) <= raised.MAX_STACK_BYTES
    )


def test_type_message_and_stack() -> None:
    error = told(ValueError("no such card"))
    assert (error.type, error.message) == ("ValueError", "no such card")
    assert error.stack.startswith("Traceback (most recent call last):")
    assert error.stack.endswith("ValueError: no such card\n")
    assert "in told" in error.stack
    assert told(OwnBaseException()).type == "tests.support.hostile.OwnBaseException"
    assert raised.summary(error) == "ValueError: no such card"
    assert raised.summary(told(KeyboardInterrupt())) == "KeyboardInterrupt"


def test_secrets_are_left_out_as_of_a_log() -> None:
    try:
        raise ValueError("no user at postgres://app:hunter2@db/x")
    except ValueError as cause:
        error = RuntimeError("GET /?access_token=hunter3 failed, password='hunter4'")
        error.__cause__ = cause
        found = told(error)
    assert "hunter" not in found.message + found.stack
    assert found.message == "GET /?access_token=[redacted] failed, password='[redacted]'"
    assert "postgres://app:[redacted]@db/x" in found.stack
    # A key that the bound would cut in two.
    long = told(ValueError("x" * (raised.MAX_MESSAGE_BYTES - 40) + " AKIA0123456789ABCDEF " + "y" * 100))
    assert "AKIA" not in long.message


@pytest.mark.parametrize("name", _RAISED)
def test_any_exception_is_told(name: str) -> None:
    error = told(_RAISED[name]())
    assert error.type
    assert within_bounds(error)
    error.SerializeToString()


def test_the_causes_are_told_and_the_innermost_frames_kept() -> None:
    def fall(depth: int) -> None:
        if depth:
            fall(depth - 1)
        raise Untold

    try:
        try:
            raise ValueError("x" * 100_000)
        except ValueError:
            fall(200)
    except Untold as error:
        found = raised.handler_error(error)
    assert within_bounds(found)
    assert found.message == "(its text cannot be read)"
    assert "in fall" in found.stack[-1000:]


@given(
    st.builds(task_pb2.HandlerError, type=st.text(), message=st.text(), stack=st.text()), st.integers(1, 9000)
)
def test_what_others_told_is_cut(error: task_pb2.HandlerError, times: int) -> None:
    for field in ("type", "message", "stack"):
        setattr(error, field, getattr(error, field) * times)
    raised.bound(error)
    assert within_bounds(error)


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            any_pb2.Any,
            type_url=st.sampled_from([each.type_url for each in POISON.values()]) | st.text(max_size=40),
            value=st.binary(max_size=40),
        ),
        max_size=4,
    )
)
def test_details_that_anybody_wrote_are_read_or_left_out(details: list[any_pb2.Any]) -> None:
    status = status_pb2.Status(code=5, message="m", details=details)
    error_info(status)
    retry_after_s(status)
    assert from_status(status).status() == status


def test_a_broken_detail_hides_none_that_can_be_read() -> None:
    good = error_details_pb2.ErrorInfo(reason="WHY", domain="acme")
    status = make_status(from_status(status_pb2.Status(code=5)).code, "m", [good])
    status.details.insert(0, POISON["ErrorInfo"])
    assert error_info(status) == good
    assert unpacked(POISON["ErrorInfo"], error_details_pb2.ErrorInfo) is None
    assert retry_after_s(status) is None


def test_details_are_read_in_one_way() -> None:
    """`Unpack` raises where bytes are not of the type that they name: nothing else may use it."""
    users = [
        below.as_posix() for path, below in layout.modules(layout.ROOT) if ".Unpack(" in path.read_text()
    ]
    assert users == ["weft/rpc/errors.py"]
