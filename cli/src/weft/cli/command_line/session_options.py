"""The options that say a sticky session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.rpc.calls.session_keys import DEFAULT_IDLE_TTL_S

if TYPE_CHECKING:
    from weft.client import StickySession

SessionKey = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="KEY",
        help="The sticky session: calls of a service with the same key go to one agent.",
    ),
]
SessionModeName = Annotated[
    str | None,
    typer.Option(
        "--session-mode",
        metavar="MODE",
        help="soft: the session moves if its agent takes no calls (default). hard: it stays with one process, and ends with it.",
    ),
]
SessionTtlS = Annotated[
    float | None,
    typer.Option(
        "--session-ttl-s",
        metavar="SECONDS",
        help="How long the session is kept without a call. [default: 600]",
    ),
]


def sticky_session(key: str | None, mode: str | None, idle_ttl_s: float | None) -> StickySession | None:
    """The session that the options say. None: none.

    Raises:
        typer.BadParameter: it is out of its bounds, or has no key.
    """
    from weft.client import StickySession
    from weft.rpc.errors import InvalidArgument

    if key is None:
        if mode is not None or idle_ttl_s is not None:
            raise typer.BadParameter("it needs --session KEY", param_hint="--session-mode, --session-ttl-s")
        return None
    try:
        return StickySession(key, mode or "soft", idle_ttl_s or DEFAULT_IDLE_TTL_S)  # type: ignore[arg-type]
    except InvalidArgument as error:
        raise typer.BadParameter(
            error.message, param_hint=f"--{(error.field or '').removeprefix('weft-')}"
        ) from None
