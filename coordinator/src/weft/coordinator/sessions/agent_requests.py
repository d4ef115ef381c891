"""What a coordinator asks of an agent on its session, beside its work: lines of logs, and commands.

A command is kept until the agent has answered it, or nobody waits for the answer any more: an agent whose event loop is blocked does not
read its stream, and gets it with the answer to its next out-of-band report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.rpc.network.channel import BATCH_ITEMS
from weft.v1 import command_pb2, logs_pb2, session_pb2

# Commands to one agent that are not answered. Operators give them one by one.
MAX_COMMANDS = 64


class AgentRequests:
    """Requests to one agent that wait to be sent or answered.

    Args:
        due: called when something is to be sent.
    """

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._logs: list[logs_pb2.LogRequest] = []
        self._unsent: list[command_pb2.AgentCommand] = []
        self._unanswered: dict[str, command_pb2.AgentCommand] = {}

    def ask_for_log(self, request: logs_pb2.LogRequest) -> None:
        self._logs.append(request)
        self._due()

    def command(self, command: command_pb2.AgentCommand) -> bool:
        """Give the agent a command. False: too many are not answered."""
        if len(self._unanswered) >= MAX_COMMANDS:
            return False
        self._unanswered[command.command_id] = command
        self._unsent.append(command)
        self._due()
        return True

    def settled(self, command_id: str) -> None:
        """A command was answered, or its answer is not awaited any more."""
        if self._unanswered.pop(command_id, None) is not None:
            self._unsent = [each for each in self._unsent if each.command_id != command_id]

    @property
    def unanswered(self) -> Sequence[command_pb2.AgentCommand]:
        """The commands that are not answered."""
        return list(self._unanswered.values())

    def fill(self, message: session_pb2.ConnectResponse) -> bool:
        """Put what waits into a message, up to the bound of a batch; True: there is more."""
        if not (self._logs or self._unsent):
            return False
        message.log_requests.extend(self._logs[:BATCH_ITEMS])
        del self._logs[:BATCH_ITEMS]
        message.commands.extend(self._unsent)
        self._unsent.clear()
        return bool(self._logs)
