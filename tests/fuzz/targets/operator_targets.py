"""What the Kubernetes API tells an operator: events of a watch, and resources in them."""

from __future__ import annotations

import json

from tests.fuzz.target import target
from weft.cli.operator import agent_pool_plan
from weft.cli.operator.agent_pool import PoolInvalid, read_pool
from weft.cli.operator.cluster_api import ApiAway, ApiRefused, Expired, read_event
from weft.cli.operator.object_watch import checked_place
from weft.cli.operator.pool_status import PoolMoment, is_news, status_of, status_of_invalid

_POOL = {
    "metadata": {"name": "g", "namespace": "n", "uid": "u", "generation": 1},
    "spec": {
        "work": {"methods": ["a.v1.S/M"], "requirements": ["gpu>=1"], "meshNamespace": "team"},
        "maxReplicas": 3,
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "agent"}]}},
    },
    "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "t"}]},
}


@target(
    "weft/cli/operator/agent_pool",
    "weft/cli/operator/cluster_api",
    seeds=lambda: [
        json.dumps({"type": "ADDED", "object": _POOL}).encode(),
        b'{"type": "ERROR", "object": {"code": 410, "message": "expired"}}',
    ],
    raises=(ValueError, ApiAway, ApiRefused, Expired),
    max_bytes=16 * 1024,
)
def operator_event(data: bytes) -> None:
    _, found = read_event(data)
    place, now = checked_place(found), PoolMoment(1.0, "now")
    try:
        pool = read_pool(found)
    except PoolInvalid as error:
        status = status_of_invalid(found, str(error), now)
    else:
        made = agent_pool_plan.plan(pool, None, 5, (), now.s)
        assert made.deployment["metadata"]["name"] == place.name
        assert pool.fixed is not None or pool.least <= made.replicas <= pool.most
        status = status_of(found, made, None, "", now)
    assert not is_news(status, status, 1e9)
    json.dumps(status)
