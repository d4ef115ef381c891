"""Reads the filter of a listing of tasks."""

from __future__ import annotations

from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.rules import State
from weft.rpc import refusals
from weft.rpc.times import seconds
from weft.v1 import coordinator_pb2

MAX_FILTER_CHARS = 1024


def list_filter(asked: coordinator_pb2.TaskFilter) -> ListFilter:
    """A checked filter.

    Raises:
        InvalidArgument: a number that is no state or no error code, or a long text.
    """
    codes = frozenset(asked.error_codes)
    if not all(0 < code <= 16 for code in codes):
        raise refusals.invalid_field(
            "filter.error_codes holds a number that is no gRPC error code (1 to 16)",
            field="filter.error_codes",
        )
    for name in ("agent_id", "request_id", "group", "error_reason", "error_text", "root_id"):
        if len(getattr(asked, name)) > MAX_FILTER_CHARS:
            raise refusals.invalid_field(
                f"filter.{name} is at most {MAX_FILTER_CHARS} characters", field=f"filter.{name}"
            )
    return ListFilter(
        states=_states(list(asked.states)),
        method=asked.method,
        created_from=seconds(asked.create_time_from) if asked.HasField("create_time_from") else None,
        created_to=seconds(asked.create_time_to) if asked.HasField("create_time_to") else None,
        agent_id=asked.agent_id,
        request_id=asked.request_id,
        group=asked.group,
        error_codes=codes,
        error_reason=asked.error_reason,
        error_text=asked.error_text,
        root_id=asked.root_id,
    )


def _states(values: list[int]) -> frozenset[State]:
    """The states of a filter.

    Raises:
        InvalidArgument: a number that is no state.
    """
    try:
        return frozenset(State(value) for value in values)
    except ValueError as error:
        raise refusals.invalid_field("filter.states holds an unknown state", field="filter.states") from error
