"""Tasks, statuses, agents, methods and queues as JSON documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from weft.cli.rendering.host_facts import host_document
from weft.cli.terminal.payload_view import PLAIN, PayloadView
from weft.rpc.contracts.json_rendering import json_value
from weft.rpc.errors import WeftError

if TYPE_CHECKING:
    from datetime import datetime

    from weft.client import AgentInfo, CoordinatorStats, MethodView, Queue, Resources, RunLimit, Task
    from weft.client.agent_snapshot import Ejection
    from weft.client.task_snapshot import Attempt
    from weft.v1 import options_pb2, task_pb2


def error_document(error: WeftError, view: PayloadView = PLAIN) -> dict[str, Any]:
    return {"error": view.status(error.status())}


def task_document(task: Task, view: PayloadView = PLAIN, *, full: bool = False) -> dict[str, Any]:
    """A task; with `full` also its request, response, options and attempts."""
    document: dict[str, Any] = {
        "id": task.id,
        "method": task.method,
        "state": task.state.name,
        "request_id": task.request_id,
        "priority": task.priority,
        "attempt": task.attempt,
        "crashes": task.crashes,
        "agent_id": task.agent_id,
        "cancel_requested": task.cancel_requested,
        "progress_count": task.progress_count,
        "created_at": time_text(task.created_at),
        "ready_at": time_text(task.ready_at),
        "started_at": time_text(task.started_at),
        "finished_at": time_text(task.finished_at),
        "expires_at": time_text(task.expires_at),
    }
    if task.status.code:
        document["error"] = view.status(task.status)
    if task.raised is not None:
        raised = document["raised"] = {"type": task.raised.type, "message": task.raised.message}
        if full:
            raised["stack"] = task.raised.stack
    if full:
        document |= _full_document(task, view)
        document["request"] = view.request(task.request)
        if task.succeeded and not task.progress_count:
            document["response"] = view.response(task.response)
    return document


def _full_document(task: Task, view: PayloadView) -> dict[str, Any]:
    """Fields that a coordinator returns for a single task only."""
    return {
        "failures": task.failures,
        "deadline": time_text(task.deadline),
        "waiting": {"reason": task.wait_reason.name, "text": task.waits_for} if task.waits_for else None,
        "limits": json_value(task.proto.options.limits),
        "retry": json_value(task.proto.options.retry),
        "limited_by": task.limited_by,
        "fallback_of": task.fallback_of,
        "fairness_key": task.proto.options.fairness_key,
        "session": session_document(task.proto.options),
        "group": task.group,
        "locks": [
            {"name": lock.name, "shared": lock.shared, "state": lock.state}
            for lock in task.proto.options.locks
        ],
        "consumes": dict(task.proto.options.consumes),
        "budget": dict(task.proto.options.budget),
        "attempts": [_attempt_document(attempt, view) for attempt in task.attempts],
        "avoid_agent_id": task.avoid_agent_id,
    }


def session_document(options: task_pb2.TaskOptions) -> dict[str, Any] | None:
    """The sticky session of a task; None: it has none."""
    if not options.HasField("session"):
        return None
    from weft.v1 import task_pb2

    session = options.session
    mode = "hard" if session.mode == task_pb2.SESSION_MODE_HARD else "soft"
    return {"key": session.key, "mode": mode, "agent_id": session.agent_id}


def _attempt_document(attempt: Attempt, view: PayloadView) -> dict[str, Any]:
    document: dict[str, Any] = {
        "number": attempt.number,
        "agent_id": attempt.agent_id,
        "started_at": time_text(attempt.started_at),
        "ended_at": time_text(attempt.ended_at),
        "crashed": attempt.crashed,
        "released": attempt.released,
        "suspended": attempt.suspended,
        "choice": attempt.choice,
    }
    if attempt.status.code:
        document["error"] = view.status(attempt.status)
    if attempt.raised is not None:
        document["raised"] = {"type": attempt.raised.type, "message": attempt.raised.message}
    return document


def agent_change_document(agent: AgentInfo) -> dict[str, Any]:
    """An agent as discovery describes it."""
    return {
        "id": agent.id,
        "state": agent.state.name,
        "desired_state": agent.desired_state.name,
        "slots": agent.slots,
        "labels": dict(agent.labels),
        "resources": dict(agent.resources),
        "methods": sorted(agent.methods),
        "unavailable": sorted(agent.unavailable),
        "advertised_address": agent.advertised_address,
        "tls_name": agent.tls_name,
        "direct_state": agent.direct_state.name,
        "direct_problem": agent.direct_problem,
        "failing": agent.failing,
        "version": agent.version,
    }


def agent_document(agent: AgentInfo) -> dict[str, Any]:
    return {
        **agent_change_document(agent),
        "used_slots": agent.used_slots,
        "in_flight": agent.in_flight,
        "overrun_slots": agent.overrun_slots,
        "overrun_methods": list(agent.overrun_methods),
        "ejection": None if agent.ejection is None else _ejection_document(agent.ejection),
        "slow_methods": {
            method: {"attempt_s": slow.attempt_s, "typical_s": slow.typical_s}
            for method, slow in agent.slow_methods.items()
        },
        "connected_at": time_text(agent.connected_at),
        "last_seen_at": time_text(agent.last_seen_at),
        "process_cpu_cores": agent.process_cpu_cores,
        "process_memory_bytes": agent.process_memory_bytes,
        "gauges": dict(agent.gauges),
        "backlog_slots": agent.backlog_slots,
        "host": None if agent.host is None else host_document(agent.host),
    }


def method_document(method: MethodView) -> dict[str, Any]:
    return {
        "method": method.name,
        "kind": method.kind,
        "request_type": method.request_type,
        "response_type": method.response_type,
        "agents": method.agents,
        "policy": policy_document(method.policy),
        "contract_policy": policy_document(method.contract_policy),
        "override": policy_document(method.override),
        "override_problem": method.override_problem,
    }


def policy_document(policy: options_pb2.TaskPolicy) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    document: dict[str, Any] = MessageToDict(policy, preserving_proto_field_name=True)
    return document


def limit_document(limit: RunLimit) -> dict[str, Any]:
    return {
        "key": limit.key,
        "max_running": limit.max_running,
        "max_rate_per_s": limit.max_rate_per_s,
        "burst": limit.burst,
        "at_limit": limit.at_limit,
    }


def resources_document(resources: Resources) -> dict[str, Any]:
    return {
        "resources": [
            {
                "agent_id": use.agent_id,
                "resource": use.resource,
                "declared": use.declared,
                "used": use.used,
                "users": dict(use.users),
            }
            for use in resources.uses
        ],
        "locks": [
            {
                "name": lock.name,
                "holders": [
                    {
                        "task_id": holder.task_id,
                        "agent_id": holder.agent_id,
                        "since": time_text(holder.since),
                        "shared": holder.shared,
                    }
                    for holder in lock.holders
                ],
                "waiting": lock.waiting,
            }
            for lock in resources.locks
        ],
    }


def _ejection_document(ejection: Ejection) -> dict[str, Any]:
    return {
        "ends_at": time_text(ejection.ends_at),
        "count": ejection.count,
        "failures": ejection.failures,
        "code": ejection.code,
    }


def stats_document(stats: CoordinatorStats) -> dict[str, Any]:
    return {
        "coordinator_id": stats.coordinator_id,
        "covered_s": stats.covered_s,
        "shared_store": stats.shared_store,
        "methods": [asdict(each) | {"error_share": each.error_share} for each in stats.methods],
    }


def queue_document(queue: Queue) -> dict[str, Any]:
    return {
        "method": queue.method,
        "requirements": queue.requirements,
        "queued": queue.queued,
        "scheduled": queue.scheduled,
        "running": queue.running,
        "paused": queue.paused,
        "agents": queue.agents,
        "oldest_age_s": queue.oldest_age_s,
        "limited": queue.limited,
        "limits": [limit_document(limit) for limit in queue.limits],
        "operator_limits": [limit_document(limit) for limit in queue.operator_limits],
        "waiting": {"reason": queue.wait_reason.name, "text": queue.waits_for} if queue.waits_for else None,
    }


def time_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
