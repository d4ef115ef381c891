"""Why a task has a further attempt."""

from __future__ import annotations

from typing import NamedTuple


class Rerun(NamedTuple):
    """The attempt before this one, for traces and logs. `cause` is a weft.v1.RerunCause, `code` a google.rpc.Code."""

    cause: int
    agent_id: str
    code: int
    ended_at: float
