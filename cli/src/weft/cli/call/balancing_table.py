"""`weft call --explain`: the agents that a direct call is balanced over, and why one of them is chosen."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from weft.cli.terminal.output import Styled, StyledText, json_text, line, remark
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.rpc.balancing import Candidate, Explanation

_WHY = {
    "round_robin": "is next: agents take turns, whatever their load",
    "weighted": "was sampled: at random, in proportion to slots x warm-up",
}
_SCORE = "Score: (in flight + reported load + the call's slots) / (slots x warm-up x speed)"
# A client learns of other clients' load from the responses to its own calls.
_NEW_HERE = (
    "this command has made no call, so it does not know the load of other clients: responses report it"
)


def print_explanation(explained: Explanation, *, as_json: bool) -> bool:
    """Print the explanation. Returns False if there is no agent to choose."""
    if as_json:
        line(json_text(asdict(explained)))
        return bool(explained.chosen)
    columns = (
        Column(""),
        Column("agent"),
        Column("address"),
        Column("connection", spare=1),
        Column("in flight", right=True),
        Column("reported load", right=True),
        Column("slots", right=True),
        Column("warm-up", right=True, spare=2),
        Column("speed", right=True, spare=3),
        Column("score", right=True),
    )
    print_rows(
        columns,
        [_row(candidate) for candidate in explained.candidates],
        f"no agent takes direct calls of {explained.method}",
    )
    if explained.chosen:
        line(f"{explained.policy}: {explained.chosen} {_why(explained)}")
        remark(_NEW_HERE)
    if explained.panic:
        line("less than half of the agents are usable, so ejected agents are used too")
    for agent_id, why in explained.left_out.items():
        remark(f"left out: {agent_id} {why}")
    return bool(explained.chosen)


def _row(candidate: Candidate) -> list[StyledText]:
    return [
        Styled(">", "green") if candidate.chosen else "",
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


def _connection(candidate: Candidate) -> StyledText:
    if not candidate.connected:
        return Styled("none", "red")
    return Styled("ok, ejected", "yellow") if candidate.ejected else "ok"


def _why(explained: Explanation) -> str:
    from weft.rpc.balancing.least_connections import SCANNED

    if explained.policy in _WHY:
        return _WHY[explained.policy]
    scores = [candidate.score for candidate in explained.candidates if candidate.available]
    equal = scores.count(min(scores))
    if len(scores) > SCANNED:
        place = "has the lower score of two sampled agents"
    elif equal > 1:
        place = f"has the lowest score, like {equal - 1} more, and it is its turn"
    else:
        place = "has the lowest score"
    return f"{place}. {_SCORE}"
