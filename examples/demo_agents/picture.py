"""The run as a picture: time on x, agents on y, a bar for each attempt at a step. Plain SVG, made of values alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from examples.demo_agents.run_watch import RunRecord

_WIDTH, _LEFT, _RIGHT, _TOP = 1200, 110, 20, 70
_ROW, _GAP, _FOOT = 18, 12, 34
# A letter of the labels, and the least width of a bar.
_LETTER, _LEAST = 6.2, 2.0
_TICKS = 8
_FAILED = "lost or failed"
_COLORS = {
    "hardware": "#8e6bbf",
    "planner": "#9aa5b1",
    "arbiter": "#c98a2b",
    "assigner": "#b0628f",
    "repositories": "#2f8f6b",
    "models": "#b8577a",
    "study": "#3b78c2",
    _FAILED: "#d43c3c",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """An attempt. Times in seconds since the begin of the run.

    Args:
        kind: a key of the colors.
    """

    agent: str
    begins_s: float
    ends_s: float
    label: str
    kind: str
    told: str


def bars_of(record: RunRecord) -> tuple[list[Bar], float]:
    """The bars of a run, by their begin, and its length in seconds."""
    begun = record.tasks[0].created_at
    ended = max((task.finished_at for task in record.tasks if task.finished_at), default=begun)
    assert begun is not None
    assert ended is not None
    bars, names = [], _names(record)
    for task in record.tasks:
        service = task.method.partition("/")[0].split(".")
        kind = service[2] if service[:2] == ["weft", "services"] else "study"
        name = names.get(task.id, "the run")
        for attempt in task.attempts:
            if attempt.started_at is None or attempt.released:
                continue
            failed = attempt.crashed or (attempt.status.code and not attempt.suspended)
            ends = attempt.ended_at or ended
            told = f"{name}, {task.method}, attempt {attempt.number}" + (": lost" if attempt.crashed else "")
            begins_s, ends_s = ((each - begun).total_seconds() for each in (attempt.started_at, ends))
            label = f"{name}: lost" if attempt.crashed else name
            bars.append(Bar(attempt.agent_id, begins_s, ends_s, label, _FAILED if failed else kind, told))
    return sorted(bars, key=lambda bar: bar.begins_s), (ended - begun).total_seconds()


def _names(record: RunRecord) -> dict[str, str]:
    """The names of the steps by their tasks: of items of the map, what they measure."""
    parts = (record.response.get("output") or {}).get("parts", ())
    items = {f"part[{index}]": str(part["name"]) for index, part in enumerate(parts)}
    return {task_id: items.get(step, step) for task_id, step in record.steps.items()}


def rows_of(bars: Sequence[Bar]) -> dict[str, list[list[Bar]]]:
    """The bars of each agent in as few rows as there are bars at a time; agents by name."""
    found: dict[str, list[list[Bar]]] = {}
    for bar in bars:
        rows = found.setdefault(bar.agent, [])
        free = next((row for row in rows if row[-1].ends_s <= bar.begins_s), None)
        if free is None:
            rows.append([bar])
        else:
            free.append(bar)
    return dict(sorted(found.items()))


def picture(record: RunRecord, title: str) -> str:
    """The SVG of a run."""
    bars, length_s = bars_of(record)
    lanes = rows_of(bars)
    killed_s = None
    if record.killed_at is not None and (begun := record.tasks[0].created_at) is not None:
        killed_s = (record.killed_at - begun).total_seconds()
    height = _TOP + sum(len(rows) * _ROW + _GAP for rows in lanes.values()) + _FOOT
    return "\n".join(_drawn(lanes, max(length_s, 0.1), height, title, (record.killed, killed_s))) + "\n"


def _drawn(
    lanes: dict[str, list[list[Bar]]],
    length_s: float,
    height: int,
    title: str,
    killed: tuple[str, float | None],
) -> Iterator[str]:
    scale = (_WIDTH - _LEFT - _RIGHT) / length_s
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="11">'
    )
    yield f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    yield f'<text x="12" y="24" font-size="16" fill="#222222">{escape(title)}</text>'
    yield from _legend({bar.kind for rows in lanes.values() for row in rows for bar in row})
    yield from _ticks(length_s, scale, height)
    y = _TOP
    for agent, rows in lanes.items():
        lane = len(rows) * _ROW
        yield f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - _LEFT - _RIGHT}" height="{lane}" fill="#f3f5f7"/>'
        yield f'<text x="12" y="{y + lane / 2 + 4:.1f}" fill="#222222">{escape(agent)}</text>'
        for number, row in enumerate(rows):
            for bar in row:
                yield from _bar(bar, scale, y + number * _ROW)
        if agent == killed[0] and killed[1] is not None:
            x = _LEFT + killed[1] * scale
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + lane + 2}" stroke="#d43c3c" stroke-width="2"/>'
            yield f'<text x="{x + 4:.1f}" y="{y - 2}" fill="#d43c3c">kill -9</text>'
        y += lane + _GAP
    yield "</svg>"


def _bar(bar: Bar, scale: float, y: float) -> Iterator[str]:
    x, width = _LEFT + bar.begins_s * scale, max(_LEAST, (bar.ends_s - bar.begins_s) * scale)
    color = _COLORS.get(bar.kind, _COLORS["study"])
    told = f"{bar.told}: {bar.ends_s - bar.begins_s:.2f} s"
    yield (
        f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 4}" rx="2" fill="{color}">'
        f"<title>{escape(told)}</title></rect>"
    )
    if len(bar.label) * _LETTER < width - 6:
        yield f'<text x="{x + 4:.1f}" y="{y + 13}" fill="#ffffff">{escape(bar.label)}</text>'


def _legend(kinds: set[str]) -> Iterator[str]:
    x = 12.0
    for kind, color in _COLORS.items():
        if kind in kinds:
            yield f'<rect x="{x:.1f}" y="36" width="12" height="12" rx="2" fill="{color}"/>'
            yield f'<text x="{x + 17:.1f}" y="46" fill="#444444">{kind}</text>'
            x += 36 + len(kind) * _LETTER


def _ticks(length_s: float, scale: float, height: int) -> Iterator[str]:
    step = next(each for each in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if each >= length_s / _TICKS)
    for number in range(int(length_s / step) + 1):
        x = _LEFT + number * step * scale
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - _FOOT + 4}" stroke="#d5dae0"/>'
        yield f'<text x="{x:.1f}" y="{height - 14}" fill="#444444" text-anchor="middle">{number * step:g} s</text>'
