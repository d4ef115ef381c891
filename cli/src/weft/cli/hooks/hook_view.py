"""Hooks for people and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.rendering.documents import time_text
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText
from weft.cli.terminal.tables import Column

if TYPE_CHECKING:
    from weft.client import Webhook

COLUMNS = (
    Column("hook"),
    Column("kind"),
    Column("becomes or sends", below=True),
    Column("path or URL", below=True),
    Column("taken", right=True),
    Column("refused", right=True),
    Column("last", below=True),
    Column("state", below=True),
)


def row(hook: Webhook) -> list[StyledText]:
    at = hook.last_at
    return [
        hook.name,
        hook.kind,
        hook.target,
        hook.url or hook.path,
        str(hook.accepted),
        str(hook.unsigned + hook.failed),
        f"{moments.since(at)} ago" if at is not None else "",
        _state(hook),
    ]


def _state(hook: Webhook) -> StyledText:
    if hook.paused:
        return Styled(f"paused{f': {hook.pause_reason}' if hook.pause_reason else ''}", "yellow")
    refused_last = hook.last_error_at is not None and (
        hook.last_at is None or hook.last_error_at >= hook.last_at
    )
    return Styled(hook.last_error, "red") if refused_last else ""


def document(hook: Webhook, *, full: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": hook.name,
        "kind": hook.kind,
        "path": hook.path,
        "url": hook.url,
        "event" if hook.to_event or hook.url else "method": hook.target,
        "filter": hook.filter,
        "paused": hook.paused,
        "pause_reason": hook.pause_reason,
        "secrets": [
            {"created_at": time_text(each.created_at), "expires_at": time_text(each.expires_at)}
            for each in hook.secrets
        ],
        "accepted": hook.accepted,
        "repeated": hook.repeated,
        "filtered": hook.filtered,
        "unsigned": hook.unsigned,
        "failed": hook.failed,
        "last_at": time_text(hook.last_at),
        "last_error": hook.last_error,
        "last_error_at": time_text(hook.last_error_at),
        "created_at": time_text(hook.created_at),
    }
    if full:
        found["template"] = hook.proto.spec.incoming.template
        found["key"] = hook.proto.spec.incoming.event.key
        found["maker"] = hook.proto.maker.subject
    return found


def facts(hook: Webhook) -> list[tuple[str, StyledText]]:
    """A hook as pairs."""
    incoming, outgoing = hook.proto.spec.incoming, hook.proto.spec.outgoing
    pairs: list[tuple[str, StyledText]] = [
        ("hook", hook.name),
        ("kind", hook.kind),
        ("path", hook.path),
        ("URL", hook.url),
        ("event" if hook.to_event or hook.url else "method", hook.target),
        ("of methods", ", ".join(outgoing.task_ends.methods)),
        ("of groups", ", ".join(outgoing.group_ends.names)),
        ("key", incoming.event.key),
        ("template", incoming.template),
        ("filter", hook.filter),
        ("maker", hook.proto.maker.subject),
        ("state", _state(hook)),
        ("secrets", ", ".join(_secret(each.created_at, each.expires_at) for each in hook.secrets)),
        ("requests", _requests(hook)),
    ]
    if hook.last_error:
        pairs.append(("last error", f"{hook.last_error} ({moments.since(hook.last_error_at)} ago)"))
    return [(name, value) for name, value in pairs if value]


def _requests(hook: Webhook) -> str:
    counts = {
        "accepted": hook.accepted,
        "repeated": hook.repeated,
        "filtered": hook.filtered,
        "unsigned": hook.unsigned,
        "failed": hook.failed,
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _secret(created_at: Any, expires_at: Any) -> str:
    made = f"made {moments.since(created_at)} ago"
    return made if expires_at is None else f"{made} (until {expires_at.astimezone():%Y-%m-%d %H:%M})"
