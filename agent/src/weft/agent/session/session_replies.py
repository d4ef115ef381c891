"""What the agent answers to its coordinator's questions and commands, until it is sent. From any thread.

One answer a message: each may be large. A command may come twice, on the stream and out-of-band; it is carried out once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from weft.v1 import command_pb2, logs_pb2, session_pb2

# Commands whose ids are remembered: far more than a coordinator leaves unanswered.
_REMEMBERED = 1024


class SessionReplies:
    """The answers of one session.

    Args:
        due: called when an answer waits.
    """

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._logs: deque[logs_pb2.LogReply] = deque()
        self._commands: deque[command_pb2.CommandReply] = deque()
        # Both ways may bring a command at the same moment.
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def add_log(self, reply: logs_pb2.LogReply) -> None:
        self._logs.append(reply)
        self._due()

    def add_command(self, reply: command_pb2.CommandReply) -> None:
        self._commands.append(reply)
        self._due()

    def new(self, commands: Sequence[command_pb2.AgentCommand]) -> list[command_pb2.AgentCommand]:
        """The commands that have not come before."""
        with self._lock:
            fresh = [each for each in commands if each.command_id not in self._seen]
            self._seen.update(dict.fromkeys(each.command_id for each in fresh))
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return fresh

    def fill(self, message: session_pb2.ConnectRequest) -> bool:
        """Put the next answers into a message of the stream. False: none waits."""
        filled = self.fill_commands(message)
        if self._logs:
            message.log_replies.append(self._logs.popleft())
            filled = True
        return filled

    def fill_commands(self, message: session_pb2.ConnectRequest) -> bool:
        """The same for a message out-of-band, which takes answers to commands alone."""
        try:
            message.command_replies.append(self._commands.popleft())
        except IndexError:
            return False
        return True

    def put_back(self, message: session_pb2.ConnectRequest) -> None:
        """The message may not have arrived: send its answers to commands again. A second one does no harm."""
        for reply in message.command_replies:
            self.add_command(reply)
