"""What `weft top` knows of the mesh at one moment, and the rows of its tables. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from weft.cli.rendering.agent_facts import styled_state as agent_state
from weft.cli.rendering.task_view import error_text
from weft.cli.rendering.task_view import styled_state as task_state
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText, plain
from weft.cli.terminal.shares import share_text
from weft.cli.terminal.tables import Column
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.client import AgentInfo, CoordinatorStats, Queue, Task

TABS = ("methods", "agents", "queues", "tasks", "failures")


@dataclass(frozen=True, slots=True)
class Picture:
    """The mesh at one moment.

    Args:
        stats: of the coordinator that answers. None: it has none.
        tasks: tasks that run; `failures`: tasks that failed, both newest first.
        detail: what is known of the opened row, as lines.
        problem: why the picture is old. Empty: it is not.
    """

    at: datetime
    target: str
    agents: Sequence[AgentInfo] = ()
    queues: Sequence[Queue] = ()
    stats: CoordinatorStats | None = None
    tasks: Sequence[Task] = ()
    failures: Sequence[Task] = ()
    detail: Sequence[StyledText] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Args:
        key: what it is about: a method, or an id.
        cells: as they are shown.
        order: as they are sorted.
    """

    key: str
    cells: Sequence[StyledText]
    order: Sequence[str | float]


COLUMNS: Mapping[str, Sequence[Column]] = {
    "methods": (
        Column("method", cut=True),
        Column("per s", right=True),
        Column("failed", right=True),
        Column("errors", right=True, spare=2),
        Column("wait p50", right=True, spare=3),
        Column("wait p99", right=True),
        Column("run p50", right=True, spare=4),
        Column("run p99", right=True),
        Column("queued", right=True, spare=1),
        Column("running", right=True),
    ),
    "agents": (
        Column("agent", cut=True),
        Column("state"),
        Column("used", right=True),
        Column("slots", right=True),
        Column("cpu", right=True),
        Column("memory", right=True),
        Column("overrun", right=True, spare=2),
        Column("methods", right=True, spare=3),
        Column("version", spare=4),
        Column("seen", right=True, spare=1),
    ),
    "queues": (
        Column("method", cut=True),
        Column("requirements", cut=True, spare=2),
        Column("queued", right=True),
        Column("running", right=True),
        Column("limited", right=True, spare=3),
        Column("agents", right=True),
        Column("oldest", right=True),
        Column("waits for", cut=True, spare=1),
    ),
    "tasks": (
        Column("task"),
        Column("method", cut=True),
        Column("state", spare=2),
        Column("agent", cut=True),
        Column("attempt", right=True, spare=1),
        Column("runs", right=True),
    ),
    "failures": (
        Column("task"),
        Column("method", cut=True),
        Column("ago", right=True),
        Column("attempt", right=True, spare=1),
        Column("error", cut=True),
    ),
}


def rows(picture: Picture, tab: str) -> Iterator[Row]:
    """The rows of a tab, in no order."""
    return _ROWS[tab](picture)


def _methods(picture: Picture) -> Iterator[Row]:
    queued: dict[str, list[int]] = {}
    for queue in picture.queues:
        both = queued.setdefault(queue.method, [0, 0])
        both[0] += queue.queued
        both[1] += queue.running
    known = {each.method: each for each in picture.stats.methods} if picture.stats else {}
    covered_s = picture.stats.covered_s if picture.stats else 1.0
    for method in known.keys() | queued.keys():
        of, (waiting, running) = known.get(method), queued.get(method, (0, 0))
        rate = of.ended / covered_s if of else 0.0
        failed, errors = (of.error_share, of.attempts.error_share) if of else (0.0, 0.0)
        times = (of.wait.p50_s, of.wait.p99_s, of.run.p50_s, of.run.p99_s) if of else (None,) * 4
        yield Row(
            method,
            (
                names.short(method),
                f"{rate:.1f}" if rate else "",
                share_text(failed),
                share_text(errors),
                *("" if each is None else moments.span(each) for each in times),
                str(waiting or ""),
                str(running or ""),
            ),
            (method, rate, failed, errors, *(each or 0.0 for each in times), waiting, running),
        )


def _agents(picture: Picture) -> Iterator[Row]:
    for agent in picture.agents:
        state = agent_state(agent)
        seen_s = 0.0 if agent.last_seen_at is None else (picture.at - agent.last_seen_at).total_seconds()
        yield Row(
            agent.id,
            (
                agent.id,
                state,
                str(agent.used_slots),
                str(agent.slots),
                f"{agent.process_cpu_cores * 100:.0f} %",
                moments.size(agent.process_memory_bytes),
                Styled(str(agent.overrun_slots), "red") if agent.overrun_slots else "",
                str(len(agent.methods)),
                agent.version,
                moments.span(seen_s),
            ),
            (
                agent.id,
                plain(state),
                agent.used_slots,
                agent.slots,
                agent.process_cpu_cores,
                agent.process_memory_bytes,
                agent.overrun_slots,
                len(agent.methods),
                agent.version,
                seen_s,
            ),
        )


def _queues(picture: Picture) -> Iterator[Row]:
    for queue in picture.queues:
        why: StyledText = Styled("paused", "yellow") if queue.paused else queue.waits_for
        age_s = queue.oldest_age_s if queue.queued > queue.limited else 0.0
        yield Row(
            f"{queue.method} {queue.requirements}".strip(),
            (
                names.short(queue.method),
                queue.requirements,
                str(queue.queued),
                str(queue.running),
                str(queue.limited or ""),
                str(queue.agents) if queue.agents else Styled("0", "yellow"),
                moments.span(age_s) if age_s else "",
                why,
            ),
            (
                queue.method,
                queue.requirements,
                queue.queued,
                queue.running,
                queue.limited,
                queue.agents,
                age_s,
                plain(why),
            ),
        )


def _tasks(picture: Picture) -> Iterator[Row]:
    for task in picture.tasks:
        runs_s = 0.0 if task.started_at is None else (picture.at - task.started_at).total_seconds()
        yield Row(
            task.id,
            (
                task.id,
                names.short(task.method),
                task_state(task),
                task.agent_id,
                str(task.attempt),
                moments.span(runs_s),
            ),
            (task.id, task.method, task.state.name, task.agent_id, task.attempt, runs_s),
        )


def _failures(picture: Picture) -> Iterator[Row]:
    for task in picture.failures:
        ago_s = 0.0 if task.finished_at is None else (picture.at - task.finished_at).total_seconds()
        error = error_text(task)
        yield Row(
            task.id,
            (
                task.id,
                names.short(task.method),
                moments.span(ago_s),
                str(task.attempt),
                Styled(error, "red"),
            ),
            (task.id, task.method, ago_s, task.attempt, error),
        )


_ROWS: Mapping[str, Callable[[Picture], Iterator[Row]]] = {
    "methods": _methods,
    "agents": _agents,
    "queues": _queues,
    "tasks": _tasks,
    "failures": _failures,
}
