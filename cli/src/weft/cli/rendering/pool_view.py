"""Pools for people and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.rendering.documents import time_text
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText, json_text
from weft.cli.terminal.tables import Column, Verbatim
from weft.rpc.contracts.json_rendering import json_value

if TYPE_CHECKING:
    from datetime import datetime

    from weft.client import Pool, PoolMember

COLUMNS = (
    Column("pool"),
    Column("state"),
    Column("ready", right=True),
    Column("what", below=True),
    Column("age", right=True),
    Column("problem", below=True),
)
MEMBER_COLUMNS = (
    Column("member"),
    Column("state"),
    Column("version", right=True),
    Column("handle"),
    Column("age", right=True),
    Column("place", below=True),
    Column("why", below=True),
)
PROVIDER_COLUMNS = (
    Column("provider"),
    Column("description", below=True),
    Column("place", below=True),
    Column("freezes"),
    Column("problem", below=True),
)
_STYLES = {
    "READY": "green",
    "CHANGING": "cyan",
    "STARTING": "cyan",
    "FAILING": "red",
    "ENDED": "red",
    "PAUSED": "yellow",
    "FROZEN": "yellow",
    "STOPPED": "yellow",
    "IDLE": "yellow",
    "STOPPING": "yellow",
    "DELETING": "yellow",
}


def row(pool: Pool) -> list[StyledText]:
    """A pool as a row of `COLUMNS`."""
    return [
        pool.name,
        _styled(pool.state.name),
        f"{pool.ready}/{pool.wanted}",
        _what(pool),
        _ago(pool.created_at),
        _problem(pool),
    ]


def member_row(member: PoolMember) -> list[StyledText]:
    """A member as a row of `MEMBER_COLUMNS`."""
    why = member.reason or ("its agent is not connected" if member.away_at else "")
    return [
        member.id,
        _styled("FROZEN" if member.frozen else member.state.name),
        str(member.version),
        member.handle,
        _ago(member.created_at),
        member.place,
        why,
    ]


def facts(pool: Pool) -> list[tuple[str, StyledText | Verbatim]]:
    """Names and values that describe a pool."""
    found: list[tuple[str, StyledText | Verbatim]] = [
        ("pool", pool.name),
        ("state", _styled(pool.state.name)),
        ("problem", _problem(pool)),
        ("next try", f"in {moments.until(pool.retry_at)}" if pool.retry_at is not None else ""),
        ("ready", f"{pool.ready} of {pool.wanted}"),
        ("frozen", "yes" if pool.frozen else ""),
        ("ephemeral", "yes" if pool.ephemeral else ""),
        ("version", _version(pool)),
        ("rolled back", Styled(pool.rolled_back, "red") if pool.rolled_back else ""),
        ("started", str(pool.started)),
        ("lost", str(pool.lost or "")),
        ("failed", str(pool.failed or "")),
        ("created", _at(pool.created_at)),
        ("changed", _at(pool.updated_at)),
        ("template", Verbatim(json_text(json_value(pool.proto.spec.template), indent=2))),
    ]
    return [(name, value) for name, value in found if value]


def pool_document(pool: Pool, *, full: bool = False) -> dict[str, Any]:
    """A pool; with `full` also its template and members."""
    document: dict[str, Any] = {
        "name": pool.name,
        "uid": pool.uid,
        "state": pool.state.name,
        "problem": pool.problem,
        "wanted": pool.wanted,
        "ready": pool.ready,
        "version": pool.version,
        "rolling": pool.rolling,
        "previous_version": pool.previous_version,
        "percent": pool.percent,
        "rolled_back": pool.rolled_back,
        "ephemeral": pool.ephemeral,
        "paused": pool.paused,
        "frozen": pool.frozen,
        "pause_reason": pool.pause_reason,
        "stopped": pool.stopped,
        "started": pool.started,
        "lost": pool.lost,
        "failed": pool.failed,
        "retry_at": time_text(pool.retry_at),
        "created_at": time_text(pool.created_at),
        "updated_at": time_text(pool.updated_at),
    }
    if full:
        document["template"] = json_value(pool.proto.spec.template)
        document["members"] = [
            {
                "id": member.id,
                "state": member.state.name,
                "version": member.version,
                "place": member.place,
                "handle": member.handle,
                "created_at": time_text(member.created_at),
                "ready_at": time_text(member.ready_at),
                "away_at": time_text(member.away_at),
                "reason": member.reason,
                "frozen": member.frozen,
            }
            for member in pool.members
        ]
    return document


def _version(pool: Pool) -> str:
    share = f", {pool.percent} % of the members, the others {pool.previous_version}" if pool.percent else ""
    return f"{pool.version}{share}{', in the making' if pool.rolling else ''}"


def _what(pool: Pool) -> str:
    template = pool.proto.spec.template
    what = template.program or template.app or " ".join(template.command) or template.image
    return f"{template.provider}: {what}"


def _problem(pool: Pool) -> StyledText:
    if pool.problem or pool.rolled_back:
        return Styled(pool.problem or f"rolled back: {pool.rolled_back}", "red")
    return Styled(f"paused: {pool.pause_reason}", "yellow") if pool.pause_reason else ""


def _styled(name: str) -> StyledText:
    return Styled(name, _STYLES.get(name, ""))


def _ago(moment: datetime | None) -> str:
    return "" if moment is None else moments.since(moment)


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
