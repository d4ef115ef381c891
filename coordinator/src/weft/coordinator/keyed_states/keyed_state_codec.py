"""States and their changes between the contract and the store. Changes are checked here, whoever makes them. Pure."""

from __future__ import annotations

from weft.coordinator.store.state_store import MAX_TYPE, StateWrite, StoredState
from weft.rpc import refusals
from weft.rpc.task_policy.key_paths import MAX_VALUE
from weft.rpc.task_policy.option_checks import MAX_LOCK_NAME
from weft.rpc.times import checked_duration, timestamp
from weft.v1 import keyed_state_pb2

# Of a lock: its name, a colon and the value of its key.
MAX_NAME = MAX_LOCK_NAME + 1 + MAX_VALUE
LEAST_TTL_S = 1.0


def message(state: StoredState, *, value: bool = True) -> keyed_state_pb2.KeyedState:
    """A state as its readers get it."""
    found = keyed_state_pb2.KeyedState(
        name=state.name, version=state.version, type=state.type, task_id=state.task_id
    )
    if value:
        found.value = state.value
    if state.version:
        found.update_time.CopyFrom(timestamp(state.updated_at))
    if state.expires_at is not None:
        found.expire_time.CopyFrom(timestamp(state.expires_at))
    return found


def check_name(name: str, field: str = "name") -> str:
    """Refuse a name that no lock can have; returns it.

    Raises:
        InvalidArgument
    """
    if not 1 <= len(name) <= MAX_NAME:
        raise refusals.invalid_field(
            f"{field} is that of a lock: 1 to {MAX_NAME} characters; this one has {len(name)}", field=field
        )
    return name


def set_change(request: keyed_state_pb2.SetKeyedStateRequest, most_bytes: int) -> StateWrite:
    """A checked change from outside.

    Raises:
        InvalidArgument: the type or the TTL.
        TooLarge: STATE_TOO_LARGE.
    """
    if (size_bytes := len(request.value)) > most_bytes:
        raise refusals.state_too_large(request.name, size_bytes, most_bytes)
    expected = request.expected_version if request.HasField("expected_version") else None
    return StateWrite(expected, request.value, *_kind_and_ttl(request, ""))


def held_change(
    task_id: str, write: keyed_state_pb2.StateWrite, most_bytes: int, field: str = ""
) -> StateWrite:
    """A checked change by the task that holds the lock.

    Args:
        field: the path to the message, with a dot behind it.

    Raises:
        InvalidArgument, TooLarge: as `set_change`.
    """
    if write.delete:
        return StateWrite(write.base_version, None)
    if (size_bytes := len(write.value)) > most_bytes:
        raise refusals.state_too_large("", size_bytes, most_bytes, task_id=task_id)
    return StateWrite(write.base_version, write.value, *_kind_and_ttl(write, field))


def _kind_and_ttl(
    write: keyed_state_pb2.StateWrite | keyed_state_pb2.SetKeyedStateRequest, field: str
) -> tuple[str, float | None]:
    kind = kind_of(write.type, field)
    if not write.HasField("ttl"):
        return kind, None
    return kind, checked_duration(write.ttl, f"{field}ttl", least_s=LEAST_TTL_S)


def kind_of(kind: str, field: str) -> str:
    """A checked type of a value.

    Raises:
        InvalidArgument: it is too long.
    """
    if len(kind) > MAX_TYPE:
        raise refusals.invalid_field(f"{field}type has more than {MAX_TYPE} characters", field=f"{field}type")
    return kind
