"""Checks of commands: their bounds, and whether an agent's token allows what they change. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from weft.coordinator.events.event_codec import check_topic
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.hello import with_labels
from weft.coordinator.store.rules import AGENT_ID_LABEL, CONTRACT_LABEL
from weft.rpc import refusals
from weft.rpc.times import checked_duration
from weft.v1 import command_pb2, fleet_pb2

TIMEOUT_S = 5.0
MAX_TIMEOUT_S = 60.0
MAX_GRACE_S = 86_400.0
MAX_CHANGES = 64
MAX_MESSAGE_BYTES = 256 * 1024
LEVELS = ("debug", "info", "warning", "error")
_DESIRED = {
    fleet_pb2.DESIRED_STATE_ACTIVE,
    fleet_pb2.DESIRED_STATE_DRAINING,
    fleet_pb2.DESIRED_STATE_PAUSED,
}


def checked_timeout(request: command_pb2.CommandAgentsRequest | command_pb2.TellAgentsRequest) -> float:
    """How long an agent may take.

    Raises:
        InvalidArgument
    """
    if not request.HasField("timeout"):
        return TIMEOUT_S
    return checked_duration(request.timeout, "timeout", least_s=0.1, most_s=MAX_TIMEOUT_S)


def check_command(command: command_pb2.AgentCommand) -> None:
    """Refuse a command that is none, or out of bounds.

    Raises:
        InvalidArgument
    """
    kind = command.WhichOneof("command")
    if kind is None or kind == "message":
        raise refusals.invalid_field(
            "the command is missing; messages are sent by TellAgents", field="command"
        )
    if kind == "desired_state" and command.desired_state not in _DESIRED:
        raise refusals.invalid_field(
            "desired_state must be ACTIVE, DRAINING or PAUSED", field="command.desired_state"
        )
    if kind in ("restart", "stop"):
        ending = command.restart if kind == "restart" else command.stop
        if ending.HasField("grace"):
            checked_duration(ending.grace, f"command.{kind}.grace", most_s=MAX_GRACE_S)
    if kind == "log_level" and command.log_level.level not in LEVELS:
        raise refusals.invalid_field(
            f"level must be one of {', '.join(LEVELS)}", field="command.log_level.level"
        )
    if kind == "labels":
        _check_changes(command.labels)


def check_message(message: command_pb2.AgentMessage) -> None:
    """Refuse a message that is out of bounds.

    Raises:
        InvalidArgument, TooLarge
    """
    check_topic(message.type, "message.type")
    if (size := len(message.payload)) > MAX_MESSAGE_BYTES:
        raise refusals.payload_too_large(
            f"the message has {size} bytes, the most are {MAX_MESSAGE_BYTES}: put large data elsewhere, and name it in the message",
            size,
            MAX_MESSAGE_BYTES,
            field="message.payload",
        )


def _check_changes(change: command_pb2.ChangeLabels) -> None:
    count = len(change.set) + len(change.remove)
    if not 1 <= count <= MAX_CHANGES:
        raise refusals.invalid_field(
            f"1 to {MAX_CHANGES} labels can be changed at a time", field="command.labels"
        )
    if both := change.set.keys() & set(change.remove):
        raise refusals.invalid_field(
            f"the label {min(both)!r} cannot be both set and removed", field="command.labels.remove"
        )
    for label, what in ((AGENT_ID_LABEL, "id"), (CONTRACT_LABEL, "contract")):
        if label in change.set or label in change.remove:
            raise refusals.invalid_field(
                f"the label {label} is the agent's {what} and cannot be changed", field="command.labels"
            )


def check_allowed(command: command_pb2.AgentCommand, session: AgentSession) -> None:
    """Refuse labels that an agent could not have in its Hello: it would be refused at its next one.

    Raises:
        InvalidArgument: there are too many, or one is too long.
        PermissionDenied: OUT_OF_SCOPE.
    """
    if command.WhichOneof("command") == "labels":
        with_labels(session.hello, changed_labels(session.hello.labels, command.labels))
        for key, value in command.labels.set.items():
            if not session.caller.scope.grants(key, value):
                raise refusals.out_of_scope("labels", f"{key}={value}")


def changed_labels(labels: Mapping[str, str], change: command_pb2.ChangeLabels) -> dict[str, str]:
    """Labels after a change."""
    kept = {key: value for key, value in labels.items() if key not in change.remove}
    return kept | dict(change.set)
