"""Why a task has a further attempt."""

from __future__ import annotations

from typing import NamedTuple


class Rerun(NamedTuple):
    """The attempt before this one, for traces and logs. `cause` is a weft.v1.RerunCause, `code` a google.rpc.Code.

    Args:
        lost_since: when it began, if it was lost with its agent, which then tells nothing of it; None: it was not, or is not known.
    """

    cause: int
    agent_id: str
    code: int
    ended_at: float
    number: int = 0
    lost_since: float | None = None
