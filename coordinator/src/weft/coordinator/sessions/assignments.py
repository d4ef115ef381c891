"""Claimed attempts as messages of the contract."""

from __future__ import annotations

from typing import NamedTuple, cast

from weft.coordinator.keyed_states import keyed_state_codec
from weft.coordinator.store.records import Claimed
from weft.rpc.calls.call_context import MAX_ID_CHARS
from weft.rpc.calls.tree_budgets import MAX_TREE_BUDGETS
from weft.rpc.times import duration, timestamp
from weft.v1 import session_pb2, task_pb2


class Tree(NamedTuple):
    """The tree of calls that an attempt belongs to."""

    # The task at its root. Empty: it is the root, or that is not known.
    root_id: str = ""
    # The tasks whose budgets bound it, its own among them.
    budgets: tuple[str, ...] = ()


NO_TREE = Tree()
# An attempt that an agent holds: its slots, its method, when it was assigned, by the monotonic clock (0: not known), its trace, its tree,
# and the bytes of its request.
Held = tuple[int, str, float, str, Tree, int]


def tree_of(context: task_pb2.CallContext) -> Tree:
    """The tree of a task, by its call context."""
    root_id, budgets = context.root_id, context.budgets
    if not (root_id or budgets):
        return NO_TREE
    return Tree(root_id, tuple(each.task_id for each in budgets))


def tree_of_held(item: session_pb2.HeldAttempt) -> Tree:
    """The tree of an attempt that an agent held before this session, as it says. It may say anything: what is no id is left out."""
    if not (item.root_id or item.budget_task_ids):
        return NO_TREE
    above = item.budget_task_ids[:MAX_TREE_BUDGETS]
    root_id = item.root_id if len(item.root_id) <= MAX_ID_CHARS else ""
    return Tree(root_id, tuple(each for each in above if 0 < len(each) <= MAX_ID_CHARS))


def assignment_of(
    claimed: Claimed,
    now_s: float,
    durable_children: bool = False,
) -> session_pb2.Assignment:
    """An attempt as its agent gets it.

    Args:
        now_s: seconds since the epoch.
        durable_children: the calls of its handler are remembered.
    """
    assignment = session_pb2.Assignment(
        task_id=claimed.task_id,
        attempt=claimed.attempt,
        method=claimed.method,
        payload=claimed.payload,
        priority=claimed.priority,
    )
    if claimed.request_id:
        assignment.request_id = claimed.request_id
    if claimed.context:
        assignment.context.MergeFromString(claimed.context)
    if claimed.deadline_at is not None:
        assignment.deadline.CopyFrom(timestamp(claimed.deadline_at))
        assignment.time_left.CopyFrom(duration(max(0.0, claimed.deadline_at - now_s)))
    if claimed.rerun is not None:
        cause, agent_id, code, *_ = claimed.rerun
        assignment.rerun.cause = cast("session_pb2.RerunCause", cause)
        assignment.rerun.last_agent_id, assignment.rerun.last_code = agent_id, code
    if claimed.state is not None:
        assignment.state.CopyFrom(keyed_state_codec.message(claimed.state))
    if claimed.consumes:
        assignment.consumes.update(claimed.consumes)
    if durable_children:
        assignment.durable_children = True
    return assignment


def size_of(assignment: session_pb2.Assignment) -> int:
    """The bytes of an assignment that count: its request, and the state that its lock keeps."""
    state_bytes = len(assignment.state.value) if assignment.HasField("state") else 0
    return len(assignment.payload) + state_bytes
