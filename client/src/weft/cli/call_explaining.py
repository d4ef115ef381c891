"""`weft call --explain`: the agents among which a direct call would be balanced, and why one of them is chosen."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from weft.cli.output import Column, json_text, line, print_rows, remark

if TYPE_CHECKING:
    from weft.rpc.balancing import Candidate, Explanation

_WHY = {
    "least_connections": "has the lowest score: (in flight + reported load + the call's slots) / (slots x warm-up x speed)",
    "round_robin": "is next: each in turn, whatever its load",
    "weighted": "is drawn: by chance, in proportion to slots x warm-up",
}
_OF_TWO = "of two that are drawn, it has the lower score: {}"


def print_explanation(explained: Explanation, *, as_json: bool) -> bool:
    """Print it; false: there is no agent to choose."""
    if as_json:
        line(json_text(asdict(explained)))
        return bool(explained.chosen)
    columns = (
        Column(""),
        Column("agent"),
        Column("address"),
        Column("connection"),
        Column("in flight", right=True),
        Column("reported load", right=True),
        Column("slots", right=True),
        Column("warm-up", right=True),
        Column("speed", right=True),
        Column("score", right=True),
    )
    print_rows(
        columns,
        [_row(candidate) for candidate in explained.candidates],
        f"no agent takes direct calls of {explained.method}",
    )
    if explained.chosen:
        line(f"{explained.policy}: {explained.chosen} {_why(explained)}")
    if explained.panic:
        line("less than half of them could be chosen, so ejected ones are chosen among, too")
    for agent_id, why in explained.left_out.items():
        remark(f"left out: {agent_id} {why}")
    return bool(explained.chosen)


def _row(candidate: Candidate) -> list[str]:
    return [
        "[green]>[/]" if candidate.chosen else "",
        candidate.agent_id,
        candidate.address,
        _connection(candidate),
        str(candidate.in_flight),
        f"{candidate.reported_load:.1f}",
        f"{candidate.weight:g}",
        f"{candidate.slow_start:.0%}",
        f"{candidate.speed:.0%}",
        f"{candidate.score:.3f}",
    ]


def _connection(candidate: Candidate) -> str:
    if not candidate.connected:
        return "[red]none[/]"
    return "[yellow]ok, ejected[/]" if candidate.ejected else "ok"


def _why(explained: Explanation) -> str:
    from weft.rpc.balancing.least_connections import SCANNED

    why = _WHY[explained.policy]
    available = sum(candidate.available for candidate in explained.candidates)
    if explained.policy == "least_connections" and available > SCANNED:
        return _OF_TWO.format(why.removeprefix("has the lowest score: "))
    return why
