"""The status of a `WeftAgentPool`. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from weft.cli.operator.agent_pool import POOL_LABEL, Object
from weft.cli.operator.agent_pool_plan import AgentPoolPlan

# A status in which only numbers and wording differ is written again after so long.
_NEWS_S = 10.0
_MAX_MESSAGE_CHARS = 1024


class PoolCondition(NamedTuple):
    """A condition without its time."""

    status: str
    reason: str
    message: str


class PoolMoment(NamedTuple):
    """A time for durations, and the same one as text (RFC 3339)."""

    s: float
    text: str


def status_of_invalid(resource: Object, why: str, now: PoolMoment) -> Object:
    """The status of a resource that is no pool. Its Deployment, if it has one, is left as it is."""
    found = PoolCondition("False", "Invalid", why)
    status = {"observedGeneration": resource["metadata"].get("generation", 0)}
    return status | {"conditions": _conditions({"Ready": found, "Scaled": found}, resource, now)}


def status_of(
    resource: Object, plan: AgentPoolPlan, observed: Object | None, refusal: str, now: PoolMoment
) -> Object:
    """The status of a pool.

    Args:
        observed: its Deployment, after the plan was applied.
        refusal: why Kubernetes has not taken the plan; empty: it has.
    """
    told = (observed or {}).get("status") or {}
    owned = {} if plan.taken else told
    replicas, ready = int(owned.get("replicas") or 0), int(owned.get("readyReplicas") or 0)
    status: Object = {
        "observedGeneration": resource["metadata"].get("generation", 0),
        "wantedReplicas": plan.replicas,
        "replicas": replicas,
        "readyReplicas": ready,
        "selector": f"{POOL_LABEL}={resource['metadata']['name']}",
    }
    if plan.tasks is not None:
        status["tasks"] = plan.tasks
    conditions = {"Ready": _ready(resource, plan, ready, refusal), "Scaled": _scaled(plan)}
    status["conditions"] = _conditions(conditions, resource, now)
    return status


def _ready(resource: Object, plan: AgentPoolPlan, ready: int, refusal: str) -> PoolCondition:
    name = resource["metadata"]["name"]
    if plan.taken:
        return PoolCondition(
            "False",
            "NameTaken",
            f"there is a Deployment {name} that is not this pool's: delete it, or give the pool another name",
        )
    if refusal:
        return PoolCondition(
            "False", "DeploymentRefused", f"Kubernetes does not take the Deployment: {refusal}"
        )
    if ready < plan.replicas:
        return PoolCondition("False", "AgentsStarting", f"{ready} of {plan.replicas} agents are ready")
    return PoolCondition(
        "True", "AgentsReady", "all agents are ready" if plan.replicas else "no agent is needed now"
    )


def _scaled(plan: AgentPoolPlan) -> PoolCondition:
    if plan.why == "Fixed":
        return PoolCondition(
            "False", "Fixed", "spec.replicas fixes the number of agents: remove it, and the queues decide"
        )
    if plan.not_read is not None:
        stays = f"the number of agents stays as it is: {plan.not_read.message}"
        return PoolCondition("False", plan.not_read.reason, stays)
    if plan.why == "AtMaximum":
        return PoolCondition(
            "True", "AtMaximum", "there are tasks for more agents than spec.maxReplicas allows"
        )
    return PoolCondition("True", "FollowsQueues", "the number of agents follows the queues")


def _conditions(wanted: dict[str, PoolCondition], resource: Object, now: PoolMoment) -> list[Object]:
    stored = resource.get("status")
    before_now = stored.get("conditions") if isinstance(stored, dict) else None
    earlier = {
        str(each.get("type")): each
        for each in (before_now if isinstance(before_now, list) else ())
        if isinstance(each, dict)
    }
    found = []
    for kind, each in wanted.items():
        before = earlier.get(kind) or {}
        same = before.get("status") == each.status and before.get("lastTransitionTime")
        found.append(
            {
                "type": kind,
                "status": each.status,
                "reason": each.reason,
                "message": each.message[:_MAX_MESSAGE_CHARS],
                "observedGeneration": resource["metadata"].get("generation", 0),
                "lastTransitionTime": before["lastTransitionTime"] if same else now.text,
            }
        )
    return found


def is_news(status: Object, stored: Object | None, since_written_s: float) -> bool:
    """Whether a status is to be written: numbers of tasks and wordings that change at each look cost no write at each look."""
    if status == stored:
        return False
    return since_written_s >= _NEWS_S or _substance(status) != _substance(stored or {})


def _substance(status: Object) -> dict[str, Any]:
    kept = {key: value for key, value in status.items() if key not in ("tasks", "conditions")}
    return kept | {
        each.get("type"): (each.get("status"), each.get("reason")) for each in status.get("conditions") or ()
    }
