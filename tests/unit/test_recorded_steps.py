"""What a client makes of a task's records: also of those that it does not know."""

from __future__ import annotations

import pytest

from weft.client.task_steps import RecordedStep, StepKind
from weft.v1 import step_pb2


@pytest.mark.parametrize("number", [0, 99])
def test_a_kind_of_a_later_version_is_unknown(number: int) -> None:
    told = step_pb2.Step(name="later", kind=number)  # type: ignore[arg-type]
    assert RecordedStep.of(told).kind is StepKind.UNKNOWN


def test_each_kind_has_its_word() -> None:
    assert {StepKind.of(number) for number in step_pb2.StepKind.values()} == set(StepKind)
