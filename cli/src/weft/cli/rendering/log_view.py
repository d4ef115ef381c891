"""Lines of a task's log, as `weft tasks logs` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weft.cli.rendering.documents import time_text
from weft.cli.terminal.output import json_text, line, remark

if TYPE_CHECKING:
    from weft.client import LogLine, MissingLog

_WHY = {
    "AGENT_GONE": "the agent is not connected: its log files may have them",
    "OFF": "the agent keeps none: set WEFT_AGENT_LOG_LINES there, or update it",
    "NONE_KEPT": "it logged nothing, or the agent does not keep them any more",
    "TOO_MANY": "the agent kept the last ones: WEFT_AGENT_LOG_LINES says how many",
    "NO_ANSWER": "the agent did not answer in time: ask again",
}


class LogPrinter:
    """Prints lines as they come, and on standard error what is missing."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._attempt: tuple[int, str] | None = None
        self.lines = 0
        self.missing = 0

    def take(self, each: LogLine | MissingLog) -> None:
        """Print a line, or say what is missing."""
        from weft.client import LogLine

        if isinstance(each, LogLine):
            self.lines += 1
            self._print(each)
        else:
            self.missing += 1
            count = f"{each.count} lines" if each.count else "lines"
            why = _WHY.get(each.reason.name, each.reason.name)
            remark(f"attempt {each.attempt} on {each.agent_id}: {count} missing: {why}")

    def _print(self, each: LogLine) -> None:
        if self._as_json:
            line(json_text(log_document(each)))
            return
        attempt = each.attempt, each.agent_id
        if self._attempt is not None and self._attempt != attempt:
            line((f"-- attempt {each.attempt} on {each.agent_id}",))
        self._attempt = attempt
        facts = "".join(f" {key}={value}" for key, value in sorted(each.fields.items()))
        moment = f"{each.time.astimezone():%H:%M:%S.%f}"[:-3] if each.time is not None else "?"
        line(f"{moment} {each.level:<7} {each.event}{facts}")
        for text in each.exception.splitlines():
            line(f"  {text}")


def log_document(each: LogLine) -> dict[str, object]:
    """A line as JSON."""
    document: dict[str, object] = {
        "time": time_text(each.time),
        "level": each.level,
        "event": each.event,
        "attempt": each.attempt,
        "agent_id": each.agent_id,
        "fields": dict(each.fields),
    }
    if each.exception:
        document["exception"] = each.exception
    return document
