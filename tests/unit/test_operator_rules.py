"""The rules of `weft operator`: what a resource says, how many agents it gets, what is applied and told, and who acts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from weft.cli.operator import agent_pool_plan
from weft.cli.operator.agent_pool import Object, PoolInvalid, read_pool
from weft.cli.operator.agent_pool_plan import AgentPoolPlan, Applied, deployment, is_due
from weft.cli.operator.leader_lease import LEASE_S, held, next_move
from weft.cli.operator.pool_size import History, Wanted, steadied
from weft.cli.operator.pool_status import PoolMoment, is_news, status_of, status_of_invalid
from weft.cli.operator.pool_work import NotRead, tasks_of
from weft.client.fleet import Queue

AWAY = NotRead("CoordinatorAway", "nobody answers")
NOW = PoolMoment(100.0, "2026-12-01T00:00:00Z")
LATER = PoolMoment(200.0, "2026-12-01T00:01:40Z")


def resource(**spec: Any) -> Object:
    template = {"spec": {"containers": [{"name": "agent", "image": "acme/worker:1"}]}}
    given = {
        "work": {"methods": ["acme.v1.Greeter/*"]},
        "tasksPerReplica": 4,
        "maxReplicas": 10,
        "template": template,
    }
    return {"metadata": {"name": "g", "namespace": "n", "uid": "u", "generation": 3}, "spec": given | spec}


def present(replicas: int, ready: int = 0, **metadata: Any) -> Object:
    found = deployment(read_pool(resource()), replicas)
    found["metadata"] |= {"generation": 1} | metadata
    return found | {"status": {"replicas": replicas, "readyReplicas": ready}}


def planned(
    tasks: int | NotRead,
    observed: Object | None = None,
    history: History = (),
    now_s: float = 0.0,
    **spec: Any,
) -> AgentPoolPlan:
    return agent_pool_plan.plan(read_pool(resource(**spec)), observed, tasks, history, now_s)


@pytest.mark.parametrize(
    ("tasks", "spec", "replicas", "why"),
    [
        (0, {}, 0, "FollowsQueues"),
        (1, {}, 1, "FollowsQueues"),
        (4, {}, 1, "FollowsQueues"),
        (5, {}, 2, "FollowsQueues"),
        (40, {}, 10, "FollowsQueues"),
        (41, {}, 10, "AtMaximum"),
        (0, {"minReplicas": 2}, 2, "FollowsQueues"),
        (40, {"replicas": 3}, 3, "Fixed"),
        (AWAY, {}, 0, "NotRead"),
        (AWAY, {"minReplicas": 1}, 1, "NotRead"),
        (AWAY, {"replicas": 0}, 0, "Fixed"),
    ],
)
def test_so_many_agents_as_tasks_are_for(
    tasks: int | NotRead, spec: dict[str, Any], replicas: int, why: str
) -> None:
    found = planned(tasks, **spec)
    assert (found.replicas, found.why) == (replicas, why)
    assert found.deployment["spec"]["replicas"] == replicas


def test_agents_come_at_once_and_go_when_fewer_were_enough_for_a_time() -> None:
    history: History = ()
    seen = []
    for now_s, wanted in [
        (0, 2),
        (10, 5),
        (20, 1),
        (60, 3),
        (70, 1),
        (81, 1),
        (121, 0),
        (130, 1),
        (190, 0),
        (250, 0),
    ]:
        history, replicas = steadied(history, wanted, now_s, 60)
        seen.append(replicas)
    #       2  5 at once, for 60 s; 3 for 60 s since 60; 1 since the last time that so many were wanted
    assert seen == [2, 5, 5, 5, 3, 3, 1, 1, 0, 0]


def test_a_history_is_as_long_as_there_are_different_numbers() -> None:
    history: History = ()
    for now_s in range(1000):
        history, _ = steadied(history, (now_s * 7) % 10, now_s, 10_000)
    assert len(history) <= 10


def test_without_a_window_agents_go_at_once() -> None:
    assert steadied((Wanted(0.0, 9),), 1, 0.0, 0)[1] == 1


def test_an_operator_that_starts_lets_nobody_go_at_once() -> None:
    first = planned(0, present(6), now_s=0)
    assert first.replicas == 6
    assert planned(0, present(6), first.history, now_s=61).replicas == 0


def test_while_the_queues_cannot_be_read_agents_stay_and_so_they_do_just_after() -> None:
    away = planned(AWAY, present(6), (Wanted(0.0, 6),), now_s=500)
    assert (away.replicas, away.tasks) == (6, None)
    assert planned(0, present(6), away.history, now_s=501).replicas == 6
    # Bounds hold all the same.
    assert planned(AWAY, present(6), maxReplicas=4).replicas == 4


def test_bounds_that_become_others_hold_at_once() -> None:
    assert planned(40, present(10), (Wanted(0.0, 10),), now_s=1, maxReplicas=3).replicas == 3
    assert planned(0, present(0), (Wanted(0.0, 0),), now_s=1, minReplicas=3).replicas == 3


def queue(method: str, requirements: str = "", **counts: Any) -> Queue:
    return Queue(
        method,
        requirements,
        **(
            {"queued": 0, "scheduled": 9, "running": 0, "paused": False, "agents": 0, "oldest_age_s": 0.0}
            | counts
        ),
    )


@pytest.mark.parametrize(
    ("work", "tasks"),
    [
        ({"methods": ["acme.v1.Greeter/*"]}, 1 + 2 + 4 + 8),
        ({"methods": ["acme.v1.Greeter/Greet"]}, 1 + 2),
        ({"methods": ["acme.v1.Greeter/*"], "requirements": []}, 1 + 8),
        ({"methods": ["acme.v1.Greeter/*"], "requirements": ["zone=eu", "gpu>=1"]}, 2),
        ({"methods": ["acme.v1.Mailer/Send", "acme.v1.Greeter/Greet"]}, 1 + 2 + 32),
    ],
)
def test_tasks_that_more_agents_would_run_count(work: dict[str, Any], tasks: int) -> None:
    queues = [
        queue("acme.v1.Greeter/Greet", queued=1),
        queue("acme.v1.Greeter/Greet", "gpu>=1,zone=eu", queued=3, limited=2, running=1),
        queue("acme.v1.Greeter/Part", "gpu>=1", running=4, queued=100, paused=True),
        queue("acme.v1.Greeter/Part", running=8),
        queue("acme.v1.Mailer/Send", queued=32),
    ]
    assert tasks_of(read_pool(resource(work=work)).work, queues) == tasks


def test_a_deployment_has_the_pools_template_and_what_agents_need() -> None:
    given = resource()
    given["spec"]["template"]["metadata"] = {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    before = copy.deepcopy(given)
    found = deployment(read_pool(given), 2)
    assert given == before
    template = found["spec"]["template"]
    assert template["metadata"] == {
        "labels": {"a": "b", "weft.dev/agent-pool": "g"},
        "annotations": {"c": "d"},
    }
    assert found["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert template["spec"]["terminationGracePeriodSeconds"] == 40
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("u", True)
    given["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 0
    assert deployment(read_pool(given), 2)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 0


def test_a_deployment_is_applied_when_something_differs() -> None:
    wanted = deployment(read_pool(resource()), 2)
    applied = Applied(wanted, 1)
    assert is_due(wanted, None, None)
    assert is_due(wanted, present(2), None)
    assert not is_due(wanted, present(2), applied)
    assert is_due(wanted, present(2, generation=2), applied)
    assert is_due(deployment(read_pool(resource()), 3), present(2), applied)


@pytest.mark.parametrize(
    ("metadata", "taken"),
    [
        ({}, False),
        ({"ownerReferences": []}, False),
        ({"ownerReferences": [{"uid": "else", "controller": True}]}, True),
        ({"ownerReferences": [{"uid": "else"}]}, False),
        ({"labels": {}}, True),
        ({"labels": {"weft.dev/agent-pool": "else"}}, True),
    ],
)
def test_a_deployment_of_somebody_else_is_left_alone(metadata: dict[str, Any], taken: bool) -> None:
    assert planned(1, present(1, **metadata)).taken is taken


def conditions(status: Object) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def test_the_status_says_how_it_is() -> None:
    status = status_of(resource(), planned(9), present(3, ready=1), "", NOW)
    assert {key: status[key] for key in ("tasks", "wantedReplicas", "replicas", "readyReplicas", "observedGeneration")} == {
        "tasks": 9, "wantedReplicas": 3, "replicas": 3, "readyReplicas": 1, "observedGeneration": 3,
    }  # fmt: skip
    assert conditions(status) == {"Ready": ("False", "AgentsStarting"), "Scaled": ("True", "FollowsQueues")}
    status = status_of(resource(), planned(9), present(3, ready=3), "", NOW)
    assert conditions(status)["Ready"] == ("True", "AgentsReady")
    status = status_of(resource(), planned(9), None, "422: no image", NOW)
    assert conditions(status)["Ready"] == ("False", "DeploymentRefused")
    assert "422: no image" in status["conditions"][0]["message"]
    status = status_of(resource(), planned(AWAY, present(3)), present(3, ready=3), "", NOW)
    assert conditions(status) == {"Ready": ("True", "AgentsReady"), "Scaled": ("False", "CoordinatorAway")}
    assert "tasks" not in status
    other = present(7, ready=7, labels={})
    status = status_of(resource(), planned(1, other), other, "", NOW)
    assert conditions(status)["Ready"] == ("False", "NameTaken")
    assert status["readyReplicas"] == 0


def test_a_condition_keeps_the_time_since_when_it_holds() -> None:
    given = resource()
    given["status"] = status_of(given, planned(9), present(3, ready=1), "", NOW)
    later = status_of(given, planned(9), present(3, ready=3), "", LATER)
    assert [each["lastTransitionTime"] for each in later["conditions"]] == [LATER.text, NOW.text]
    invalid = status_of_invalid(given, "no", LATER)
    assert conditions(invalid) == {"Ready": ("False", "Invalid"), "Scaled": ("False", "Invalid")}
    assert [each["lastTransitionTime"] for each in invalid["conditions"]] == [NOW.text, LATER.text]


def test_numbers_of_tasks_cost_no_write_at_each_look() -> None:
    given = resource()
    first = status_of(given, planned(9), present(3), "", NOW)
    assert is_news(first, None, 0.0)
    given["status"] = first
    more = status_of(given, planned(10), present(3), "", LATER)
    assert not is_news(first, first, 1e9)
    assert not is_news(more, first, 1.0)
    assert is_news(more, first, 60.0)
    assert is_news(status_of(given, planned(10), present(3, ready=1), "", LATER), first, 1.0)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"spec": None}, "spec must"),
    ({"maxReplicas": None}, "spec.maxReplicas"),
    ({"maxReplicas": "3"}, "spec.maxReplicas"),
    ({"maxReplicas": True}, "spec.maxReplicas"),
    ({"maxReplicas": 0}, "spec.maxReplicas"),
    ({"minReplicas": -1}, "spec.minReplicas"),
    ({"minReplicas": 11}, "spec.minReplicas (11) must not be above spec.maxReplicas (10)"),
    ({"replicas": 1.5}, "spec.replicas"),
    ({"tasksPerReplica": 0}, "spec.tasksPerReplica"),
    ({"scaleDownStabilizationSeconds": 1e9}, "spec.scaleDownStabilizationSeconds"),
    ({"work": []}, "spec.work"),
    ({"work": {}}, "spec.work.methods"),
    ({"work": {"methods": []}}, "spec.work.methods"),
    ({"work": {"methods": ["nonsense"]}}, "spec.work.methods names 'nonsense'"),
    ({"work": {"methods": ["a.B/C,a.B/D"]}}, "spec.work.methods has a comma"),
    ({"work": {"methods": ["a.B/C"], "requirements": "gpu>=1"}}, "spec.work.requirements"),
    ({"work": {"methods": ["a.B/C"], "requirements": ["gpu"]}}, "spec.work.requirements"),
    ({"work": {"methods": ["a.B/C"], "meshNamespace": "A b"}}, "spec.work.meshNamespace"),
    ({"work": {"methods": ["a.B/C"], "meshNamespace": 1}}, "spec.work.meshNamespace"),
    ({"template": None}, "spec.template"),
    ({"template": {"spec": {}}}, "spec.template.spec.containers"),
    ({"template": {"metadata": {"labels": 1}, "spec": {"containers": [1]}}}, "spec.template.metadata.labels"),
    (
        {"template": {"metadata": {"labels": {"weft.dev/agent-pool": "x"}}, "spec": {"containers": [1]}}},
        "weft.dev/agent-pool",
    ),
]


@pytest.mark.parametrize(("spec", "words"), WRONG)
def test_a_resource_that_is_no_pool_is_told_so_by_field(spec: dict[str, Any], words: str) -> None:
    given = resource(**spec)
    if "spec" in spec:
        given["spec"] = None
    with pytest.raises(PoolInvalid) as caught:
        read_pool(given)
    assert words in str(caught.value)
    assert "scalerMetadata" not in str(caught.value)


def test_a_name_must_fit_into_a_label() -> None:
    given = resource()
    given["metadata"]["name"] = "x" * 64
    with pytest.raises(PoolInvalid, match="64 characters"):
        read_pool(given)


def test_one_operator_acts() -> None:
    mine = held(None, "n", "me", "t1")
    assert next_move(None, 0.0, "me") == "create"
    assert next_move(mine, 0.0, "me") == "renew"
    assert next_move(mine, LEASE_S - 1, "other") == "wait"
    assert next_move(mine, LEASE_S, "other") == "take"
    # Let go in order, or by somebody.
    assert next_move(mine | {"spec": {"holderIdentity": ""}}, 0.0, "other") == "take"
    assert next_move({"metadata": {}}, 0.0, "other") == "take"
    renewed = held(mine, "n", "me", "t2")["spec"]
    assert (renewed["acquireTime"], renewed["renewTime"], renewed["leaseTransitions"]) == ("t1", "t2", 0)
    taken = held(mine, "n", "other", "t3")["spec"]
    assert (taken["acquireTime"], taken["leaseTransitions"]) == ("t3", 1)
