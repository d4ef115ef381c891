"""The last lines that each attempt has logged, kept in memory for a while, so that operators can ask for them.

Bounded by lines, bytes and attempts, and by time. An attempt that logs nothing costs nothing. Any thread may add lines.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from weft.agent.session.attempt import Ref
from weft.rpc.raised import text_of
from weft.rpc.times import timestamp
from weft.v1 import logs_pb2

MAX_ATTEMPT_BYTES = 64 * 1024
MAX_BYTES = 16 * 1024 * 1024
MAX_ATTEMPTS = 2000
# Parts of one line. Of a traceback the end is kept: it has the message.
_EVENT_CHARS, _FIELD_CHARS, _EXCEPTION_CHARS = 4096, 1024, 16 * 1024
_FIELDS = 32
# Lines of one answer.
ANSWER_BYTES = 256 * 1024
# A line's share of memory beside its text.
_LINE_BYTES = 200

# Fields that all lines of an attempt have, and those that have a place of their own.
_SAME = frozenset({"task_id", "attempt", "method", "agent_id", "trace_id", "event", "exception"})


class Read(NamedTuple):
    """Lines of an attempt that follow a position."""

    lines: list[logs_pb2.LogLine]
    # There are more.
    more: bool
    # The position of the last line that the attempt logged.
    last_sequence: int


class _Attempt:
    """The lines of one attempt."""

    __slots__ = ("lines", "sequence", "size_bytes", "used_at_s")

    def __init__(self) -> None:
        self.lines: deque[tuple[logs_pb2.LogLine, int]] = deque()
        self.sequence = 0
        self.size_bytes = 0
        # When the last line came, by the monotonic clock.
        self.used_at_s = 0.0


class KeptLogs:
    """Keeps lines.

    Args:
        max_lines: of one attempt; the older ones are dropped.
        kept_s: so long after an attempt's last line its lines are dropped.
        runs: whether an attempt runs here. Lines of other calls are not kept: nobody can ask for them.
        added: called after each line, from its thread.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        max_lines: int,
        kept_s: float,
        runs: Callable[[Ref], bool],
        added: Callable[[Ref], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_lines = max_lines
        self._kept_s = kept_s
        self._runs = runs
        self._added = added
        self._clock = clock
        self._lock = threading.Lock()
        # By the time of their last lines, the oldest first.
        self._attempts: OrderedDict[Ref, _Attempt] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._attempts)

    def add(self, level: str, entry: Mapping[str, Any]) -> None:
        """Keep a line, if an attempt logged it. `entry` has its context, and no secrets."""
        task_id, number = entry.get("task_id"), entry.get("attempt")
        if not isinstance(task_id, str) or type(number) is not int:
            return
        ref = (task_id, number)
        if ref not in self._attempts and not self._runs(ref):
            return
        line = _line(level, entry)
        size_bytes = line.ByteSize() + _LINE_BYTES
        with self._lock:
            self._drop_old()
            kept = self._attempts.get(ref)
            if kept is None:
                kept = self._attempts[ref] = _Attempt()
            self._attempts.move_to_end(ref)
            kept.used_at_s = self._clock()
            kept.sequence += 1
            line.sequence = kept.sequence
            kept.lines.append((line, size_bytes))
            self._grow(kept, size_bytes)
            while len(kept.lines) > self._max_lines or (
                kept.size_bytes > MAX_ATTEMPT_BYTES and len(kept.lines) > 1
            ):
                self._grow(kept, -kept.lines.popleft()[1])
            while self.size_bytes > MAX_BYTES or len(self._attempts) > MAX_ATTEMPTS:
                self._drop_first()
        self._added(ref)

    def read(self, ref: Ref, after_sequence: int) -> Read | None:
        """Lines after a position, as many as one answer takes; None: there are none of this attempt."""
        with self._lock:
            self._drop_old()
            kept = self._attempts.get(ref)
            if kept is None:
                return None
            lines: list[logs_pb2.LogLine] = []
            room_bytes = ANSWER_BYTES
            for line, size_bytes in kept.lines:
                if line.sequence <= after_sequence:
                    continue
                room_bytes -= size_bytes
                if lines and room_bytes < 0:
                    return Read(lines, more=True, last_sequence=kept.sequence)
                lines.append(line)
            return Read(lines, more=False, last_sequence=kept.sequence)

    def _grow(self, kept: _Attempt, size_bytes: int) -> None:
        kept.size_bytes += size_bytes
        self.size_bytes += size_bytes

    def _drop_old(self) -> None:
        until_s = self._clock() - self._kept_s
        while self._attempts and next(iter(self._attempts.values())).used_at_s < until_s:
            ref = next(iter(self._attempts))
            if self._runs(ref):
                # It may have been silent for long, and its lines are those that somebody asks for.
                self._attempts[ref].used_at_s = self._clock()
                self._attempts.move_to_end(ref)
            else:
                self._drop_first()

    def _drop_first(self) -> None:
        _, dropped = self._attempts.popitem(last=False)
        self.size_bytes -= dropped.size_bytes


def _line(level: str, entry: Mapping[str, Any]) -> logs_pb2.LogLine:
    exception = text_of(entry.get("exception", ""))
    fields = [(key, value) for key, value in entry.items() if key not in _SAME][:_FIELDS]
    return logs_pb2.LogLine(
        time=timestamp(time.time()),
        level=level,
        event=text_of(entry.get("event", ""))[:_EVENT_CHARS],
        fields={text_of(key)[:_FIELD_CHARS]: text_of(value)[:_FIELD_CHARS] for key, value in fields},
        exception=exception[-_EXCEPTION_CHARS:],
    )
