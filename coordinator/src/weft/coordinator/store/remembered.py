"""The request ids of remembered child calls: "step:PARENT/NAME". Such a task is kept as long as its parent is unfinished. Pure."""

from __future__ import annotations

from weft.rpc.task_policy.option_checks import STEP_ID


def request_id_of(parent_id: str, name: str) -> str:
    """The request id of a child call under a name."""
    return f"{STEP_ID}{parent_id}/{name}"


def name_of(request_id: str) -> str:
    """The name of a remembered call with this request id."""
    return request_id.partition("/")[2]


def parent_of(request_id: str) -> str:
    """Id of the task whose handler made a call with this request id. Empty: it is no remembered call's."""
    return request_id[len(STEP_ID) :].partition("/")[0] if request_id.startswith(STEP_ID) else ""
