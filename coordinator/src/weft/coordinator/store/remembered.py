"""The request ids of remembered child calls: "step:PARENT/NAME". Such a task is kept as long as its parent is unfinished, and cancelled
with its parent. Pure."""

from __future__ import annotations

from weft.rpc.task_policy.option_checks import STEP_ID

_PREFIX_CHARS = len(STEP_ID)
# Remembered calls that one move cancels with their callers; the next moves cancel the others.
MOST_CALLS = 250


def request_id_of(parent_id: str, name: str) -> str:
    """The request id of a child call under a name."""
    return f"{STEP_ID}{parent_id}/{name}"


def name_of(request_id: str) -> str:
    """The name of a remembered call with this request id."""
    return request_id.partition("/")[2]


def parent_of(request_id: str) -> str:
    """Id of the task whose handler made a call with this request id. Empty: it is no remembered call's."""
    return request_id[_PREFIX_CHARS:].partition("/")[0] if request_id.startswith(STEP_ID) else ""


def cancelled_with(parent_id: str) -> str:
    """Why a remembered call is cancelled. Lua has it, too (cancels.lua)."""
    return f"task {parent_id}, which called it, was cancelled"
