"""Groups on the wire and in the store: requests are checked here. A group's note is a serialized `weft.v1.Group` with its callback
and what became of it."""

from __future__ import annotations

from weft.coordinator.own_metadata import set_metadata
from weft.coordinator.store.group_store import GroupRecord
from weft.coordinator.store.rules import State
from weft.rpc import refusals
from weft.rpc.task_policy.option_checks import CALLBACK_ID
from weft.rpc.times import timestamp
from weft.v1 import coordinator_pb2, group_pb2

MAX_PAYLOAD_BYTES = 32 * 1024
MAX_OPTIONS_BYTES = 16 * 1024
MAX_ERROR_CHARS = 1024
# Metadata that a callback has beside that of its options.
NAME_KEY = "group-name"


def check_callback(callback: group_pb2.GroupCallback) -> None:
    """Refuse a callback that is wrong, apart from its method and what its contract checks.

    Raises:
        InvalidArgument, TooLarge: naming the field.
    """
    for field, size, most in (
        ("payload", len(callback.payload), MAX_PAYLOAD_BYTES),
        ("options", callback.options.ByteSize(), MAX_OPTIONS_BYTES),
    ):
        if size > most:
            raise refusals.payload_too_large(
                f"callback.{field} is {size} bytes; a callback's may have {most}",
                size_bytes=size,
                limit_bytes=most,
                field=f"callback.{field}",
            )
    if callback.options.group:
        raise refusals.invalid_field(
            "callback.options.group is set: a callback belongs to no group", field="callback.options.group"
        )


def callback_request(
    name: str, uid: str, callback: group_pb2.GroupCallback
) -> coordinator_pb2.SubmitTaskRequest:
    """The submission of a group's callback: repeats are the same task."""
    request = coordinator_pb2.SubmitTaskRequest(
        method=callback.method,
        payload=callback.payload,
        request_id=f"{CALLBACK_ID}{uid}",
        options=callback.options,
    )
    set_metadata(request.options, {NAME_KEY: name})
    return request


def packed_note(group: group_pb2.Group) -> bytes:
    """What the store keeps of a group's message: its callback and what became of it."""
    note = group_pb2.Group(
        callback_task_id=group.callback_task_id, callback_error=group.callback_error[:MAX_ERROR_CHARS]
    )
    note.end_untold = group.end_untold
    if group.HasField("callback"):
        note.callback.CopyFrom(group.callback)
    if group.HasField("callback_maker"):
        note.callback_maker.CopyFrom(group.callback_maker)
    if group.HasField("callback_pending_time"):
        note.callback_pending_time.CopyFrom(group.callback_pending_time)
    return note.SerializeToString(deterministic=True)


def group_message(record: GroupRecord, *, full: bool = True) -> group_pb2.Group:
    """A group as a message; `full`: with all of its callback.

    Raises:
        google.protobuf.message.DecodeError: its note is damaged.
    """
    group = group_pb2.Group.FromString(record.note)
    if not full and group.HasField("callback"):
        group.callback.CopyFrom(group_pb2.GroupCallback(method=group.callback.method))
    group.name, group.uid = record.name, record.uid
    for state in State:
        setattr(group.counts, state.name.lower(), record.counts.get(state, 0))
    group.create_time.CopyFrom(timestamp(record.created_at))
    if record.closed_at is not None:
        group.close_time.CopyFrom(timestamp(record.closed_at))
    if record.ended_at is not None:
        group.end_time.CopyFrom(timestamp(record.ended_at))
    return group
