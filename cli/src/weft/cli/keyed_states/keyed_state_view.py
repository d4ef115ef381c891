"""Keyed states for people and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.rendering.documents import time_text
from weft.cli.terminal import moments
from weft.cli.terminal.output import StyledText, json_text
from weft.cli.terminal.tables import Column
from weft.rpc import bounded_json
from weft.rpc.contracts.json_rendering import unread_bytes
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import InvalidArgument

if TYPE_CHECKING:
    from weft.client import KeyedState
    from weft.rpc.contracts.contract_reader import ResolvedMessage

JSON = "json"
COLUMNS = (
    Column("state"),
    Column("type", below=True),
    Column("bytes", right=True),
    Column("changed"),
    Column("by task", spare=1),
    Column("ends", spare=2),
)


def row(state: KeyedState) -> list[StyledText]:
    """A state as a row of `COLUMNS`."""
    return [
        state.name,
        state.type or "bytes",
        str(len(state.value)),
        f"{moments.since(state.updated_at)} ago",
        state.task_id,
        "" if state.expires_at is None else f"{state.expires_at.astimezone():%Y-%m-%d %H:%M:%S}",
    ]


class StateView:
    """Shows the values of states of one type.

    Args:
        message: the type, if a contract has it.
        show_secrets: show the values of secret fields, and bytes that no contract describes, too.
    """

    def __init__(self, message: ResolvedMessage | None, *, show_secrets: bool) -> None:
        self._message = message
        self._secrets = None if show_secrets else SecretFields()

    def value(self, state: KeyedState) -> Any:
        """A value as JSON."""
        if state.type == JSON:
            try:
                return bounded_json.loads(state.value)
            except ValueError:
                # Whoever wrote it, it is no JSON.
                return unread_bytes(state.value, self._secrets)
        if self._message is not None:
            try:
                return self._message.to_json(state.value, self._secrets)
            except InvalidArgument:
                # Written by another version of the contract.
                pass
        return unread_bytes(state.value, self._secrets)

    def document(self, state: KeyedState, *, value: bool = True) -> dict[str, Any]:
        """A state as a document."""
        return {
            "name": state.name,
            "version": state.version,
            "type": state.type,
            "size_bytes": len(state.value),
            **({"value": self.value(state)} if value else {}),
            "updated_at": time_text(state.updated_at),
            "expires_at": time_text(state.expires_at),
            "task_id": state.task_id,
        }

    def text(self, state: KeyedState) -> str:
        """The value of a state as indented JSON."""
        return json_text(self.value(state), indent=2)
