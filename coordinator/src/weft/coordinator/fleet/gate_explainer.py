"""Explains waits for run limits, locks and resources: which one, and who has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from weft.coordinator.store.records import LockHolder, LockRecord, QueueDepth, Submission
from weft.coordinator.store.rules import Requirements
from weft.coordinator.store.run_limits import GateKey, RunLimitRule, RunLimitRules, limit_gates
from weft.v1 import fleet_pb2

# Agents and tasks that a text names.
_NAMED = 3


class Wait(NamedTuple):
    """A reason to wait; the text continues "waits for "."""

    reason: fleet_pb2.WaitReason
    text: str

    def proto(self) -> fleet_pb2.Waiting:
        return fleet_pb2.Waiting(reason=self.reason, text=self.text)


def lock_of(given: Submission, limited_by: str) -> str:
    """The lock that a task waits for; empty: it waits for something else."""
    names = (claim.name for claim in given.locks)
    return next((name for name in names if str(GateKey.of_lock(name)) == limited_by), "")


def lock_wait(name: str, records: Sequence[LockRecord], now: float) -> Wait:
    """Why a task waits for a lock.

    Args:
        records: the store's record of it, if there is one.
    """
    holders = [holder for record in records for holder in record.holders]
    if not holders:
        return Wait(fleet_pb2.WAIT_REASON_LOCK, f"the lock {name!r}, which has just become free")
    first, *others = holders
    more = f", and {_count(len(others), 'other task')} share it" if others else ""
    shared = "shared " if first.shared else ""
    return Wait(fleet_pb2.WAIT_REASON_LOCK, f"the lock {name!r}, {shared}held by {_holder(first, now)}{more}")


def _holder(holder: LockHolder, now: float) -> str:
    return f"task {holder.task_id} on agent {holder.agent_id} for {max(0.0, now - holder.since):.1f} s"


def limit_wait(given: Submission, limited_by: str, rules: RunLimitRules) -> Wait:
    """Why a task waits for a run limit of its method.

    Args:
        rules: those of its method.
    """
    gates = limit_gates(rules, given.method, given.fairness_key, given.limit_keys)
    rule = next((rule for key, rule in gates if str(key) == limited_by), None)
    text = limited_by if rule is None else f"{limited_by}; {_full(rule)}"
    return Wait(fleet_pb2.WAIT_REASON_LIMIT, f"the {text}")


def _full(rule: RunLimitRule) -> str:
    running = f"{rule.max_running} of {rule.max_running} run"
    rate = f"{rule.rate_per_s:g} a second have started"
    if rule.max_running and rule.rate_per_s:
        return f"{running}, or {rate}"
    return running if rule.max_running else rate


def all_limited(depth: QueueDepth) -> Wait | None:
    """Why the ready tasks of a queue wait, if each of them waits for a run limit or a lock."""
    if not depth.limited or depth.limited < depth.queued:
        return None
    return Wait(
        fleet_pb2.WAIT_REASON_LIMIT,
        "run limits or locks, all of them; `weft tasks get` says for which one, `weft resources` who holds locks",
    )


def resource_wait(requirements: Requirements, short: Mapping[str, Sequence[fleet_pb2.ResourceUse]]) -> Wait:
    """Why tasks wait for resources.

    Args:
        short: the agents that take these tasks, each with the resources of which it has too little left.
    """
    wanted = ", ".join(f"{resource}:{amount:g}" for resource, amount in requirements.consumes)
    parts = [
        f"{agent_id} has {max(0.0, use.declared - use.used):g} of {use.declared:g} {use.resource} left{_users(use)}"
        for agent_id, uses in list(short.items())[:_NAMED]
        for use in uses[:1]
    ]
    if len(short) > _NAMED:
        parts.append(f"and {_count(len(short) - _NAMED, 'more agent')}")
    return Wait(fleet_pb2.WAIT_REASON_RESOURCE, f"an agent with {wanted} left; " + "; ".join(parts))


def _users(use: fleet_pb2.ResourceUse) -> str:
    if not use.users:
        return ""
    names = ", ".join(user.task_id for user in use.users[:_NAMED])
    more = f" and {len(use.users) - _NAMED} more" if len(use.users) > _NAMED else ""
    return f", used by task{'s' if len(use.users) > 1 else ''} {names}{more}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
