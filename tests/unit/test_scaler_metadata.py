"""What KEDA's triggers may say, and what the queues then mean for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.doors.keda import scaler_metadata
from weft.coordinator.doors.keda.present_work import PresentWork, QueueLook, is_active, present_work
from weft.coordinator.doors.keda.scaler_metadata import FollowedWork, followed_work
from weft.coordinator.store.records import QueueDepth
from weft.coordinator.store.rules import QueueKey, Requirements
from weft.rpc.errors import InvalidArgument

GREET, SEND = "acme.v1.Greeter/Greet", "acme.v1.Mailer/Send"


def test_a_whole_trigger() -> None:
    found = followed_work(
        {
            "scalerAddress": "weft:7700",
            "enableTLS": "true",
            "tokenFromEnv": "x",
            "methods": f" {GREET}, acme.v1.Mailer/*,{GREET}",
            "requirements": "zone=eu, gpu>=1",
            "meshNamespace": "team-a",
            "tasksPerReplica": "2.5",
            "activationTasks": "3",
            "ageSecondsPerReplica": "30",
        }
    )
    assert found == FollowedWork(
        (GREET, "acme.v1.Mailer/*"), frozenset({"zone=eu", "gpu>=1"}), "team-a", 2.5, 3, 30.0
    )
    assert found.follows(GREET)
    assert found.follows(SEND)
    assert not found.follows("acme.v1.Greeter/Other")


def test_a_short_trigger() -> None:
    assert followed_work({"methods": GREET}) == FollowedWork((GREET,))
    assert followed_work({"methods": GREET, "meshNamespace": "default"}).namespace == ""
    assert followed_work({"methods": GREET, "requirements": ""}).requirements == frozenset()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "scalerMetadata.methods must name methods"),
        ({"methods": " , "}, "must name methods"),
        ({"methods": "Greet"}, "names 'Greet', which is neither"),
        ({"methods": "acme.v1.*"}, "which is neither"),
        ({"methods": f"/{GREET}"}, "which is neither"),
        ({"methods": ",".join(f"a.B/M{n}" for n in range(101))}, "names 101 methods"),
        ({"methods": "a" * 20_000}, "has 20000 characters"),
        ({"method": GREET}, "scalerMetadata.method is not known; did you mean methods?"),
        ({"methods": GREET, "zzz": ""}, "known are methods, requirements"),
        ({"methods": GREET, "requirements": "gpu"}, "has 'gpu', which is no requirement"),
        ({"methods": GREET, "meshNamespace": "Team A"}, "no namespace of weft"),
        ({"methods": GREET, "tasksPerReplica": "0"}, "must be a number above 0"),
        ({"methods": GREET, "tasksPerReplica": "nan"}, "must be a number above 0"),
        ({"methods": GREET, "tasksPerReplica": "1_0"}, "must be a number above 0"),
        ({"methods": GREET, "tasksPerReplica": "\u0664"}, "must be a number above 0"),
        ({"methods": GREET, "tasksPerReplica": "1e300"}, "must be a number above 0"),
        ({"methods": GREET, "ageSecondsPerReplica": "soon"}, "must be a number above 0"),
        ({"methods": GREET, "activationTasks": "-1"}, "must be a whole number"),
        ({"methods": GREET, "activationTasks": "1.5"}, "must be a whole number"),
        ({"methods": GREET, "activationTasks": "²"}, "must be a whole number"),
        ({f"k{n}": "" for n in range(65)}, "has 65 keys"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(given: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidArgument, match="scalerMetadata") as caught:
        followed_work(given)
    assert says in caught.value.message


KEYS = st.sampled_from([*scaler_metadata._OWN, "scalerAddress", "xFromEnv"]) | st.text(max_size=20)


@given(st.dictionaries(KEYS, st.text(max_size=60), max_size=8))
def test_whatever_a_trigger_says_it_is_read_or_refused(metadata: dict[str, str]) -> None:
    try:
        found = followed_work(metadata)
    except InvalidArgument:
        return
    assert found.methods
    assert found.tasks_per_replica > 0


EU = Requirements.of({"zone": "eu"}, {"gpu": 1})
LOOK = QueueLook(
    {
        QueueKey(GREET): QueueDepth(queued=5, running=2, oldest_at=90.0, limited=1, scheduled=7),
        QueueKey(GREET, EU): QueueDepth(queued=3, oldest_at=80.0),
        QueueKey(SEND): QueueDepth(queued=4, running=1, oldest_at=50.0),
        QueueKey("acme.v1.Other/Do"): QueueDepth(queued=100, oldest_at=1.0),
    },
    (SEND,),
    100.0,
)


@pytest.mark.parametrize(
    ("work", "found"),
    [
        (FollowedWork((GREET,)), PresentWork(9, 20.0)),
        (FollowedWork((GREET,), frozenset()), PresentWork(6, 10.0)),
        (FollowedWork((GREET,), frozenset({"gpu>=1", "zone=eu"})), PresentWork(3, 20.0)),
        (FollowedWork((GREET,), frozenset({"zone=eu"})), PresentWork()),
        # Paused: what runs counts alone.
        (FollowedWork((SEND,)), PresentWork(1, 0.0)),
        (FollowedWork(("acme.v1.Mailer/*", GREET)), PresentWork(10, 20.0)),
        (FollowedWork(("acme.v1.None/*",)), PresentWork()),
    ],
)
def test_the_work_that_replicas_could_do(work: FollowedWork, found: PresentWork) -> None:
    assert present_work(work, LOOK, lambda _: True) == found
    assert present_work(work, LOOK, lambda _: False) == PresentWork()


@pytest.mark.parametrize(
    ("tasks", "least", "active"), [(0, 0, False), (1, 0, True), (3, 3, False), (4, 3, True)]
)
def test_when_there_must_be_replicas(tasks: int, least: int, active: bool) -> None:
    assert is_active(FollowedWork((GREET,), activation_tasks=least), PresentWork(tasks)) is active
