"""The catalogue has one function a reason; each error has the code that the contract documents, and says what a caller does."""

from __future__ import annotations

import inspect
import re
import typing

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from scripts import docs_reference
from weft.rpc import errors, refusals
from weft.v1 import errors_pb2

REASONS = {
    value: name.removeprefix("ERROR_REASON_") for name, value in errors_pb2.ErrorReason.items() if value
}
ACTIONS = (errors.RetryLater, errors.FixRequest, errors.DeadlineExceeded, errors.Failed)
SAMPLES = {
    "str": "sample",
    "int": 7,
    "float": 1.5,
    "bool": True,
    "dict[str, str]": {"name": "sample"},
    "Sequence[FieldViolation]": [errors.FieldViolation("a.b", "sample", "sample.rule")],
}


@pytest.fixture(scope="module")
def documented() -> dict[int, str]:
    """The comment of each reason in the contract."""
    file = docs_reference.descriptors()["weft/v1/errors.proto"]
    comments = docs_reference.comments_of(file)
    return {
        value.number: comments.get((5, 0, 2, index), "").strip()
        for index, value in enumerate(file.enum_type[0].value)
    }


def made(reason: int, **given: object) -> list[typing.Any]:
    """Every error that the function of a reason makes, with sample facts."""
    function = docs_reference.refusal_function(REASONS[reason])
    parameters = inspect.signature(function).parameters.values()
    facts = {
        each.name: SAMPLES[str(each.annotation).split(" |")[0]]
        for each in parameters
        if each.default is each.empty and each.annotation != "bool"
    }
    choices = [each.name for each in parameters if each.annotation == "bool"]
    return [
        function(**facts, **dict.fromkeys(choices, chosen))
        for chosen in ((False, True) if choices else (True,))
    ]


@pytest.mark.parametrize("reason", REASONS, ids=REASONS.values())
def test_each_reason_has_a_function_and_its_documented_codes(reason: int, documented: dict[int, str]) -> None:
    errors_of_it = made(reason)
    text = documented[reason]
    if reason == errors_pb2.ERROR_REASON_METADATA_LEFT_OUT:
        assert text.startswith("Any code")
        assert [info.reason for info in errors_of_it] == ["METADATA_LEFT_OUT"]
        return
    codes = set(re.split(r" or ", text.partition(":")[0]))
    assert {error.code.name for error in errors_of_it} == codes
    assert {error.reason for error in errors_of_it} == {reason}
    assert set(docs_reference.refusal_classes(REASONS[reason])) == {type(error) for error in errors_of_it}


@pytest.mark.parametrize("reason", REASONS, ids=REASONS.values())
def test_errors_cross_the_wire_with_class_and_facts(reason: int) -> None:
    for error in made(reason):
        if isinstance(error, error_details_pb2.ErrorInfo):
            continue
        received = errors.from_status(error.status())
        assert type(received) is type(error)
        assert (received.reason, received.message) == (reason, str(error))
        assert received.metadata == error.metadata
        assert received.retry_after_s == error.retry_after_s
        assert received.violations == error.violations


def test_each_error_sorts_into_one_action() -> None:
    for reason in REASONS:
        for error in made(reason):
            if isinstance(error, errors.WeftError):
                assert sum(isinstance(error, action) for action in ACTIONS) == 1, error


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_handlers_error_has_the_class_of_its_code(code: grpc.StatusCode) -> None:
    error = errors.from_status(status_pb2.Status(code=code.value[0], message="its own"))
    assert error.reason == errors_pb2.ERROR_REASON_UNSPECIFIED
    assert error.code is code or type(error) is errors.Unknown
    # Without a RetryInfo, gRPC's RESOURCE_EXHAUSTED says nothing of when to try again.
    assert isinstance(error, errors.RetryLater) == (code is grpc.StatusCode.UNAVAILABLE)


def test_a_handlers_bound_with_a_retry_info_can_be_tried_later() -> None:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromSeconds(2)
    status = errors.make_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", [info])
    error = errors.from_status(status)
    assert isinstance(error, errors.Overloaded)
    assert error.retry_after_s == 2


def test_the_one_timeout_is_pythons_too() -> None:
    with pytest.raises(TimeoutError) as caught:
        raise refusals.call_deadline("the call took too long")
    assert str(caught.value) == "the call took too long"
    assert isinstance(caught.value, errors.DeadlineExceeded)


def test_an_error_without_a_reason_names_none() -> None:
    class OfAProgram(errors.InvalidArgument):
        pass

    assert OfAProgram("its own").status() == status_pb2.Status(
        code=code_pb2.INVALID_ARGUMENT, message="its own"
    )
