"""The task filter of `weft tasks list`, `cancel` and `retry`: its options and the tasks that match."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.client import Mesh, Task, TaskState

States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="Only tasks in this state; repeatable.",
        autocompletion=completion.states,
    ),
]
Since = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Only tasks submitted since then: 30s, 15m, 1h or 2d ago, or a local time, 2026-11-29T10:00.",
    ),
]
Until = Annotated[
    str, typer.Option(metavar="TIME", help="Only tasks submitted before then; a time as for --since.")
]
AgentId = Annotated[
    str,
    typer.Option(
        "--agent",
        metavar="AGENT",
        help="Only tasks whose current or last attempt is at this agent.",
        autocompletion=completion.agent_ids,
    ),
]
RequestId = Annotated[
    str, typer.Option("--request-id", metavar="ID", help="Only the task with this request id.")
]
GroupName = Annotated[
    str,
    typer.Option(
        "--group", metavar="NAME", help="Only the tasks of this group.", autocompletion=completion.groups
    ),
]
ErrorText = Annotated[
    str,
    typer.Option(
        "--error",
        metavar="CODE|REASON|TEXT",
        help="Only tasks that failed with this code (UNAVAILABLE), reason (CRASH_LOOP), or text in the message or exception.",
    ),
]

_SPANS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_REASON = re.compile(r"[A-Z][A-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """The options as the user gave them; empty: not given."""

    states: Sequence[str] = ()
    method: str = ""
    since: str = ""
    until: str = ""
    agent_id: str = ""
    request_id: str = ""
    error: str = ""
    group: str = ""

    @property
    def any(self) -> bool:
        who = (self.agent_id, self.request_id, self.group)
        return any((self.states, self.method, self.since, self.until, self.error, *who))

    def checked(self) -> TaskFilter:
        """Check the options.

        Raises:
            Failure: an option has a value that is not valid.
        """
        now = datetime.now(UTC)
        return TaskFilter(
            states(self.states),
            self.method,
            {
                "created_from": _moment("--since", self.since, now),
                "created_to": _moment("--until", self.until, now),
                "agent_id": self.agent_id,
                "request_id": self.request_id,
                "group": self.group,
                **_error(self.error),
            },
        )


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """A checked filter. The method's full name is not resolved yet: the coordinator knows it."""

    states: Sequence[TaskState]
    method: str
    further: dict[str, Any]

    async def tasks(self, mesh: Mesh, limit: int | None = None) -> AsyncGenerator[Task]:
        """The tasks that match, newest first."""
        of = await inputs.queue_method(mesh, self.method)
        found = False
        async for task in mesh.tasks.list(states=self.states, method=of, limit=limit, **self.further):
            found = True
            yield task
        if not found:
            await inputs.check_known(mesh, of)


def states(names: Sequence[str]) -> list[TaskState]:
    """Task states by their names.

    Raises:
        Failure: a name is not a task state.
    """
    from weft.client import TaskState

    try:
        return [TaskState[name.upper()] for name in names]
    except KeyError as error:
        known = ", ".join(TaskState.__members__)
        raise Failure(f"there is no task state {error}; the states are {known}", status=2) from None


def _moment(option: str, text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    span = _SPAN.fullmatch(text.strip())
    try:
        if span is not None:
            return now - timedelta(seconds=float(span[1]) * _SPANS[span[2]])
        # A time without a zone is local time.
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise Failure(
            f"{option} is {text!r}; it must be a time ago, such as 30s, 15m, 1h or 2d, or a time, such as 2026-11-29T10:00",
            status=2,
        ) from None


def _error(text: str) -> dict[str, Any]:
    import grpc

    if not text:
        return {}
    code = grpc.StatusCode.__members__.get(text.upper().replace(" ", "_"))
    if code is not None and code is not grpc.StatusCode.OK:
        return {"error_codes": [code]}
    return {"error_reason": text} if _REASON.fullmatch(text) else {"error_text": text}
