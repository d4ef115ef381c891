"""The rules of a task's life, by tables."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.store import rules
from weft.coordinator.store.rules import Requirements, State, TaskRetryPolicy
from weft.v1 import task_pb2

UNAVAILABLE_ONLY = TaskRetryPolicy(max_attempts=3)
NAMED = TaskRetryPolicy(
    max_attempts=3,
    retryable_codes=frozenset(
        {code_pb2.INTERNAL, code_pb2.INVALID_ARGUMENT, code_pb2.CANCELLED, code_pb2.UNIMPLEMENTED}
    ),
)


def test_states_have_the_contracts_numbers() -> None:
    for state in State:
        assert task_pb2.TaskState.Value(f"TASK_STATE_{state.name}") == state


@pytest.mark.parametrize(
    ("state", "targets"),
    [
        (State.SCHEDULED, {State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
        (State.QUEUED, {State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
        (State.RUNNING, {State.QUEUED, State.SCHEDULED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
        (State.SUCCEEDED, set()),
        (State.FAILED, {State.QUEUED}),
        (State.CANCELLED, {State.QUEUED}),
    ],
)
def test_transitions(state: State, targets: set[State]) -> None:
    assert rules.TRANSITIONS[state] == targets
    assert state.terminal == (state in {State.SUCCEEDED, State.FAILED, State.CANCELLED})


@pytest.mark.parametrize(
    ("policy", "code", "failures", "final", "retried"),
    [
        (UNAVAILABLE_ONLY, code_pb2.UNAVAILABLE, 1, False, True),
        (UNAVAILABLE_ONLY, code_pb2.UNAVAILABLE, 2, False, True),
        (UNAVAILABLE_ONLY, code_pb2.UNAVAILABLE, 3, False, False),
        (UNAVAILABLE_ONLY, code_pb2.UNAVAILABLE, 1, True, False),
        (UNAVAILABLE_ONLY, code_pb2.INTERNAL, 1, False, False),
        (UNAVAILABLE_ONLY, code_pb2.DEADLINE_EXCEEDED, 1, False, False),
        (NAMED, code_pb2.INTERNAL, 1, False, True),
        (NAMED, code_pb2.UNAVAILABLE, 1, False, False),
        # Whatever the policy names.
        (NAMED, code_pb2.INVALID_ARGUMENT, 1, False, False),
        (NAMED, code_pb2.UNIMPLEMENTED, 1, False, False),
        (NAMED, code_pb2.CANCELLED, 1, False, False),
    ],
)
def test_what_is_retried(
    policy: TaskRetryPolicy, code: int, failures: int, final: bool, retried: bool
) -> None:
    assert rules.should_retry(policy, failures, code, final=final) is retried


@pytest.mark.parametrize(
    ("code", "failures", "cancel_requested", "end"),
    [
        (code_pb2.OK, 0, False, State.SUCCEEDED),
        (code_pb2.OK, 0, True, State.SUCCEEDED),
        (code_pb2.CANCELLED, 1, False, State.FAILED),
        (code_pb2.CANCELLED, 1, True, State.CANCELLED),
        (code_pb2.UNAVAILABLE, 1, False, None),
        (code_pb2.UNAVAILABLE, 1, True, State.CANCELLED),
        (code_pb2.UNAVAILABLE, 3, False, State.FAILED),
        (code_pb2.UNAVAILABLE, 3, True, State.FAILED),
        (code_pb2.INTERNAL, 1, True, State.FAILED),
    ],
)
def test_the_end_after_a_report(code: int, failures: int, cancel_requested: bool, end: State | None) -> None:
    assert (
        rules.end_after_report(
            UNAVAILABLE_ONLY, code=code, failures=failures, cancel_requested=cancel_requested
        )
        is end
    )


@pytest.mark.parametrize(
    ("max_crashes", "crashes", "cancel_requested", "end"),
    [
        (3, 1, False, None),
        (3, 3, False, None),
        (3, 4, False, State.FAILED),
        (0, 1, False, State.FAILED),
        (3, 1, True, State.CANCELLED),
        (0, 1, True, State.CANCELLED),
    ],
)
def test_the_end_after_a_crash(
    max_crashes: int, crashes: int, cancel_requested: bool, end: State | None
) -> None:
    policy = TaskRetryPolicy(max_crashes=max_crashes)
    assert rules.end_after_crash(policy, crashes=crashes, cancel_requested=cancel_requested) is end


@pytest.mark.parametrize(
    ("failures", "most_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (1000, 5.0), (10**9, 5.0)]
)
def test_backoff_grows_to_its_bound(failures: int, most_s: float) -> None:
    policy = TaskRetryPolicy(initial_backoff_s=0.5, max_backoff_s=5.0)
    assert rules.backoff_s(policy, failures, 1.0) == most_s
    assert rules.backoff_s(policy, failures, 0.25) == most_s / 4
    assert rules.backoff_s(policy, failures, 0.0) == 0.0
    assert rules.backoff_s(policy, failures, 0.0, least_s=7.0) == 7.0
    assert rules.backoff_s(policy, failures, 1.0, least_s=0.1) == most_s


@given(
    failures=st.integers(1, 10_000),
    draw=st.floats(0, 1, exclude_max=True),
    initial_s=st.floats(0, 1e5),
    max_s=st.floats(0, 86400),
    multiplier=st.floats(1, 1000),
)
def test_backoff_is_never_outside_its_bounds(
    failures: int, draw: float, initial_s: float, max_s: float, multiplier: float
) -> None:
    policy = TaskRetryPolicy(initial_backoff_s=initial_s, max_backoff_s=max_s, backoff_multiplier=multiplier)
    assert 0.0 <= rules.backoff_s(policy, failures, draw) <= max_s


@pytest.mark.parametrize(
    ("start_to_close_s", "close_at", "deadline_at"),
    [(None, None, None), (5.0, None, 105.0), (None, 103.0, 103.0), (5.0, 103.0, 103.0), (5.0, 109.0, 105.0)],
)
def test_the_nearer_deadline_holds(
    start_to_close_s: float | None, close_at: float | None, deadline_at: float | None
) -> None:
    assert rules.attempt_deadline(100.0, start_to_close_s, close_at) == deadline_at


@pytest.mark.parametrize(
    ("labels", "resources", "met"),
    [
        ({"zone": "eu", "x": "y"}, {"gpu": 2.0}, True),
        ({"zone": "eu"}, {"gpu": 1.0}, True),
        ({"zone": "us"}, {"gpu": 1.0}, False),
        ({}, {"gpu": 1.0}, False),
        ({"zone": "eu"}, {"gpu": 0.5}, False),
        ({"zone": "eu"}, {}, False),
    ],
)
def test_requirements(labels: dict[str, str], resources: dict[str, float], met: bool) -> None:
    needed = Requirements.of({"zone": "eu"}, {"gpu": 1.0})
    assert needed.met_by(labels, resources) is met
    assert rules.ANY_AGENT.met_by(labels, resources)


def test_equal_requirements_are_one_queue() -> None:
    one = Requirements.of({"a": "1", "b": "2"}, {"x": 1.0, "y": 2.0})
    other = Requirements.of({"b": "2", "a": "1"}, {"y": 2.0, "x": 1.0})
    assert rules.QueueKey("m", one) == rules.QueueKey("m", other)
    assert len({rules.QueueKey("m", one), rules.QueueKey("m", other), rules.QueueKey("m")}) == 2
    assert str(one) == "a=1,b=2,x>=1,y>=2"
