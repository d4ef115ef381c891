"""What a pool is to be now: how many agents, and the Deployment that has them. Pure.

resource, observed Deployment, tasks, memory, now ──► AgentPoolPlan ──► (applied at the edge) ──► status
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weft.cli.operator.agent_pool import DEFAULT_GRACE_S, GROUP, KIND, POOL_LABEL, VERSION, AgentPool, Object
from weft.cli.operator.pool_size import History, Wanted, bounded, steadied
from weft.cli.operator.pool_work import NotRead, replicas_for

MANAGER = "weft-operator"

# Why there are so many agents. AtMaximum: the tasks are for more.
Why = Literal["FollowsQueues", "AtMaximum", "Fixed", "NotRead"]


@dataclass(frozen=True, slots=True)
class AgentPoolPlan:
    """What is to be.

    Attributes:
        replicas: how many agents.
        tasks: that are for the pool's agents; None: not known.
        not_read: why they are not.
        deployment: is to be applied.
        taken: the Deployment's name is taken by one that is not the pool's: it is left alone.
        history: what was wanted, for the next plan.
    """

    replicas: int
    why: Why
    tasks: int | None
    not_read: NotRead | None
    deployment: Object
    taken: bool
    history: History


def plan(
    pool: AgentPool, observed: Object | None, tasks: int | NotRead, history: History, now_s: float
) -> AgentPoolPlan:
    """The plan of a pool.

    Args:
        observed: its Deployment, if there is one.
        tasks: that are for its agents, or why that is not known: then as many agents stay as there are.
        history: of its last plan; empty: there was none.
    """
    present = _replicas(observed)
    if not history and present is not None:
        # What an operator before this one has wanted is not known: agents do not go at once because of that.
        history = (Wanted(now_s, bounded(present, pool.least, pool.most)),)
    why: Why
    if isinstance(tasks, NotRead):
        needed = pool.least if present is None else present
        why = "NotRead"
    else:
        needed = replicas_for(pool.work, tasks)
        why = "AtMaximum" if needed > pool.most else "FollowsQueues"
    wanted = bounded(needed, pool.least, pool.most)
    if pool.fixed is None:
        history, replicas = steadied(history, wanted, now_s, pool.stabilization_s)
        # The bounds may have become others meanwhile.
        replicas = bounded(replicas, pool.least, pool.most)
    else:
        # When the number is no longer fixed, agents go as slowly as ever.
        replicas, why = pool.fixed, "Fixed"
        history = (Wanted(now_s, bounded(pool.fixed, pool.least, pool.most)),)
    return AgentPoolPlan(
        replicas=replicas,
        why=why,
        tasks=None if isinstance(tasks, NotRead) else tasks,
        not_read=tasks if isinstance(tasks, NotRead) else None,
        deployment=deployment(pool, replicas),
        taken=observed is not None and is_others(observed, pool),
        history=history,
    )


def is_others(observed: Object, pool: AgentPool) -> bool:
    """Whether a Deployment is not the pool's. One of such a pool before it, which nobody controls any more, is."""
    metadata = observed["metadata"]
    if (metadata.get("labels") or {}).get(POOL_LABEL) != pool.place.name:
        return True
    controllers = {
        each.get("uid") for each in metadata.get("ownerReferences") or () if each.get("controller")
    }
    return not controllers <= {pool.uid}


@dataclass(frozen=True, slots=True)
class Applied:
    """What was applied last, and the generation that the API gave to it."""

    wanted: Object
    generation: int

    @classmethod
    def of(cls, wanted: Object, answer: Object) -> Applied:
        return cls(wanted, _generation(answer))


def is_due(wanted: Object, observed: Object | None, applied: Applied | None) -> bool:
    """Whether a Deployment must be applied: it is not there, is to be another, or somebody has changed it."""
    if observed is None or applied is None:
        return True
    return applied.wanted != wanted or applied.generation != _generation(observed)


def deployment(pool: AgentPool, replicas: int) -> Object:
    """The Deployment of a pool, as it is applied: these fields are the operator's, others are whoever's."""
    template: dict[str, Any] = copy.deepcopy(dict(pool.template))
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), POOL_LABEL: pool.place.name}
    template["metadata"] = metadata
    # An agent drains at SIGTERM.
    if template["spec"].get("terminationGracePeriodSeconds") is None:
        template["spec"]["terminationGracePeriodSeconds"] = DEFAULT_GRACE_S
    owner = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": pool.place.name,
        "uid": pool.uid,
        "controller": True,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": pool.place.name,
            "namespace": pool.place.namespace,
            "labels": {POOL_LABEL: pool.place.name, "app.kubernetes.io/managed-by": MANAGER},
            "ownerReferences": [owner],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {POOL_LABEL: pool.place.name}},
            "template": template,
        },
    }


def _replicas(observed: Object | None) -> int | None:
    found = None if observed is None else _part(observed, "spec").get("replicas")
    return found if isinstance(found, int) else None


def _generation(found: Object) -> int:
    return int(found["metadata"].get("generation", 0))


def _part(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = found.get(key)
    return part if isinstance(part, dict) else {}
