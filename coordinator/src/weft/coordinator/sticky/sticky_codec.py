"""Sticky sessions of the contract, checked, as the store's values; and as they are told. Pure."""

from __future__ import annotations

from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import AGENT_ID_LABEL, NO_AGENT_YET
from weft.coordinator.store.sticky_agent import is_hard
from weft.rpc import refusals
from weft.rpc.calls.session_keys import (
    DEFAULT_IDLE_TTL_S,
    LEAST_IDLE_TTL_S,
    MAX_IDLE_TTL_S,
    StickyCall,
    is_session_key,
)
from weft.rpc.times import checked_duration, seconds
from weft.v1 import task_pb2

SOFT, HARD = task_pb2.SESSION_MODE_SOFT, task_pb2.SESSION_MODE_HARD


def of_options(options: task_pb2.TaskOptions) -> StickyCall:
    """The session of a submission, checked.

    Raises:
        InvalidArgument: the session is out of its bounds, or the call names an agent, too; `field` is the path.
    """
    if options.context.HasField("session"):
        raise refusals.invalid_field(
            "options.context.session is set by coordinators: give options.session instead",
            field="options.context.session",
        )
    if options.agent_id or AGENT_ID_LABEL in options.requirements.labels:
        raise refusals.invalid_field(
            "a call names either a sticky session, which chooses the agent, or an agent: leave one of them out",
            field="options.session",
        )
    return checked(options.session, "options.session")


def checked(session: task_pb2.StickySession, field: str) -> StickyCall:
    """A session as a caller says it.

    Raises:
        InvalidArgument: the key, the mode or the time is out of its bounds; `field` is the path.
    """
    if not is_session_key(session.key):
        raise refusals.invalid_field(
            f"{field}.key must be 1 to 256 printable ASCII characters, without a space at an end",
            field=f"{field}.key",
        )
    if session.mode not in task_pb2.SessionMode.values():
        raise refusals.invalid_field(
            f"{field}.mode is {session.mode}, which is no mode", field=f"{field}.mode"
        )
    idle_ttl_s = DEFAULT_IDLE_TTL_S
    if session.HasField("idle_ttl"):
        path = f"{field}.idle_ttl"
        idle_ttl_s = checked_duration(session.idle_ttl, path, least_s=LEAST_IDLE_TTL_S, most_s=MAX_IDLE_TTL_S)
    return StickyCall(session.key, session.mode == HARD, idle_ttl_s)


def message(call: StickyCall, agent_id: str = "") -> task_pb2.StickySession:
    """A session as it is told."""
    told = call.message()
    told.agent_id = agent_id
    return told


def in_context(call: StickyCall) -> bytes:
    """What is appended to a serialized call context, so that it has the session."""
    return task_pb2.CallContext(session=call.message()).SerializeToString()


def of_context(context: bytes) -> StickyCall | None:
    """The session of a stored task, by its call context. None: it has none."""
    call = task_pb2.CallContext.FromString(context)
    if not call.HasField("session"):
        return None
    session = call.session
    return StickyCall(session.key, session.mode == HARD, seconds(session.idle_ttl))


def tell(given: Submission, options: task_pb2.TaskOptions) -> None:
    """Tell the session of a stored task in its options: all of it if they have the task's context, else its mode and agent."""
    if options.context.HasField("session"):
        options.session.CopyFrom(options.context.session)
        options.context.ClearField("session")
        if not options.context.ByteSize():
            options.ClearField("context")
    needed = given.requirements
    if needed.session:
        options.session.mode = HARD if is_hard(needed) else SOFT
        options.session.agent_id = "" if needed.agent_id == NO_AGENT_YET else needed.agent_id
