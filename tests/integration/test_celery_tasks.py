"""An unchanged project of Celery in a mesh: its tasks answer what they answer under Celery itself, and what Celery's callers use works."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery")

from celery import chain, chord, group, signals
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from tests.support.celery_project import tasks
from tests.support.celery_project.celery import app
from weft.celery.v1.celery_pb2 import TaskCall, TaskReturn
from weft.client import Method, Once, TaskState
from weft.compat.celery import adopt, agent, apply_beat, method_name
from weft.rpc.errors import FixRequest, InvalidArgument
from weft.testing import SyncLocalMesh, sync_mesh_of

WAIT_S = 20.0
PROJECT = "tests.support.celery_project.tasks"


@pytest.fixture(scope="module")
def mesh() -> Iterator[SyncLocalMesh]:
    hosted = agent(app, queues=["celery", "feeds"])
    with sync_mesh_of(hosted, skip_idle_time=False) as made:
        adopt(app, made.target)
        yield made


def outcome_of(result: Any) -> tuple[Any, ...]:
    """What a caller gets, as JSON carries it."""
    try:
        value = result.get(timeout=WAIT_S, propagate=True)
    except Exception as error:
        return type(error), error.args
    except SystemExit as error:
        return SystemExit, error.args
    return "returned", value


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("add", (1, 2)),
        ("add", (1.0, 2)),
        ("add", (2**70, 1)),
        ("add", ("ä", "😀")),
        ("add", ([1], [None, True])),
        ("add", (1, "a")),
        ("send_mail", ("ada",)),
        ("values", (date(2026, 1, 1),)),
        ("today", ()),
        ("flaky", (0,)),
        ("flaky", (2,)),
        ("flaky", (4,)),
        ("shrinks", (3,)),
        ("fetch", (2,)),
        ("fetch", (3,)),
        ("fails", (7,)),
        ("forgets", ()),
        ("replaced", (5,)),
    ],
)
def test_a_task_answers_what_it_answers_under_celery(
    mesh: SyncLocalMesh, name: str, args: tuple[Any, ...]
) -> None:
    task = getattr(tasks, name)
    eager = outcome_of(task.apply(args))
    if eager[0] == "returned":
        # Eager results are the objects themselves.
        eager = "returned", None if name == "forgets" else loads(dumps(eager[1]))
    assert outcome_of(task.delay(*args)) == eager


def test_what_a_task_raises_costs_that_task_alone(mesh: SyncLocalMesh) -> None:
    assert outcome_of(tasks.leaves.delay(3)) == (SystemExit, (3,))
    kind, (text,) = outcome_of(tasks.gives_objects.delay())
    assert kind is EncodeError
    assert "cannot be written as JSON" in text
    assert outcome_of(tasks.ignores.delay()) == ("returned", None)
    assert outcome_of(tasks.rejects.delay())[0].__name__ == "Reject"
    assert tasks.add.delay(1, 1).get(timeout=WAIT_S) == 2


def test_a_failure_is_told_to_operators_and_callers(mesh: SyncLocalMesh) -> None:
    failed = tasks.fails.delay(9)
    with pytest.raises(tasks.NoMoney) as raised:
        failed.get(timeout=WAIT_S)
    assert raised.value.wanted == 9
    assert failed.status == "FAILURE"
    assert "raise NoMoney(wanted, 1)" in failed.traceback
    (task,) = mesh.tasks.list(request_id=failed.id)
    assert (task.method, task.state) == (f"celery.{PROJECT}/fails", TaskState.FAILED)
    assert task.status.message == "NoMoney: (9, 1)"
    # Queued again by an operator, a task goes on with its last try.
    spent = tasks.flaky.delay(9)
    assert outcome_of(spent) == (tasks.NoMoney, (9, 3))
    (task,) = mesh.tasks.list(request_id=spent.id)
    mesh.tasks.retry(task.id)
    ended = mesh.tasks.ended(task.id, timeout_s=WAIT_S)
    assert (ended.status.message, ended.attempt) == ("NoMoney: (9, 3)", 2)


def test_canvas(mesh: SyncLocalMesh, tmp_path: Path) -> None:
    add, note = tasks.add, tasks.note
    assert chain(add.s(1, 2), add.s(3), add.s(4)).delay().get(timeout=WAIT_S) == 10
    assert group(add.s(i, i) for i in range(4)).delay().get(timeout=WAIT_S) == [0, 2, 4, 6]
    assert chord([add.s(i, i) for i in range(4)])(tasks.total.s()).get(timeout=WAIT_S) == 12
    place = tmp_path / "notes"
    add.apply_async((1, 2), link=note.s(str(place))).get(timeout=WAIT_S)
    with pytest.raises(tasks.NoMoney):
        tasks.fails.apply_async((1,), link_error=tasks.on_error.s(str(place))).get(timeout=WAIT_S)
    with pytest.raises(tasks.NoMoney):
        chain(tasks.fails.s(1), add.s(1)).delay().get(timeout=WAIT_S)
    started = tasks.fans_out.apply_async((5,), time_limit=30)
    assert started.get(timeout=WAIT_S) is True
    (parent,) = mesh.tasks.list(request_id=started.id)
    # In the tree of the task that has started them, and not bound to its time.
    found = list(mesh.tasks.list(root_id=parent.id, created_from=parent.created_at))
    assert {each.method for each in found} == {f"celery.{PROJECT}/add"}
    assert not any(each.proto.options.limits.HasField("schedule_to_close") for each in found)
    for task in mesh.tasks.list(method=f"celery.{PROJECT}/note"):
        mesh.tasks.ended(task.id, timeout_s=WAIT_S)
    # Callbacks are submitted before the task has ended.
    assert "3\n" in place.read_text()
    assert "NoMoney True\n" in place.read_text()


def test_options_of_a_call(mesh: SyncLocalMesh) -> None:
    routed = tasks.feed_refresh.apply_async(("u",), priority=8, task_id="own-id", countdown=3600)
    assert (routed.id, routed.state) == ("own-id", "PENDING")
    (task,) = mesh.tasks.list(request_id="own-id", full=True)
    assert (task.priority, task.state) == (8, TaskState.SCHEDULED)
    assert dict(task.proto.options.requirements.labels) == {"celery.queue.feeds": "yes"}
    mesh.clock.advance(3600)
    assert routed.get(timeout=WAIT_S) == ["u", "feeds", 8]
    assert routed.status == "SUCCESS"
    assert app.AsyncResult("own-id").get(timeout=WAIT_S) == ["u", "feeds", 8]
    # By the task's id in the mesh, too.
    assert app.AsyncResult(task.id).get(timeout=WAIT_S) == ["u", "feeds", 8]
    # A time without a zone is UTC, as at Celery's workers.
    aware = datetime.now(UTC) + timedelta(days=2)
    for at in (aware, aware.replace(tzinfo=None)):
        waiting = tasks.add.apply_async((1, 1), eta=at)
        (task,) = mesh.tasks.list(request_id=waiting.id)
        assert task.ready_at is not None
        assert task.created_at is not None
        assert (task.ready_at - task.created_at).total_seconds() == pytest.approx(2 * 86400, abs=30)
    limited = tasks.add.apply_async((1, 1), time_limit=7, expires=60)
    (task,) = mesh.tasks.list(request_id=limited.id, full=True)
    limits = task.proto.options.limits
    assert limits.start_to_close.seconds == 7
    assert limits.schedule_to_start.seconds in {59, 60}


def test_calls_with_one_id_are_one_task(mesh: SyncLocalMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tasks.add.apply_async((1, 2), task_id="once")
    # From another process.
    monkeypatch.setattr("celery.app.amqp.anon_nodename", lambda: "gen7@elsewhere")
    assert tasks.add.apply_async((1, 2), task_id="once").get(timeout=WAIT_S) == first.get(timeout=WAIT_S) == 3
    assert len(list(mesh.tasks.list(request_id="once"))) == 1
    with pytest.raises(FixRequest, match="once"):
        tasks.add.apply_async((1, 3), task_id="once")


def test_a_task_that_expires_or_is_revoked_is_revoked(mesh: SyncLocalMesh) -> None:
    waiting = tasks.add.apply_async((1, 1), queue="nobody", expires=60)
    assert waiting.state == "PENDING"
    mesh.clock.advance(61)
    with pytest.raises(TaskRevokedError, match="expired"):
        waiting.get(timeout=WAIT_S)
    revoked = tasks.add.apply_async((1, 1), countdown=600)
    revoked.revoke()
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=WAIT_S)
    assert revoked.state == "REVOKED"
    # It has ended: nothing to do.
    revoked.revoke()
    app.AsyncResult("nobody-has-it").revoke()


def test_a_state_of_its_own_is_seen_while_it_runs(mesh: SyncLocalMesh, tmp_path: Path) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    running = tasks.slow.delay(str(started), str(release))
    ends_at_s = time.monotonic() + WAIT_S
    while not started.exists():
        assert time.monotonic() < ends_at_s
        time.sleep(0.005)
    assert (running.state, running.info) == ("PROGRESS", {"done": 2})
    # A running task ends by itself, unless it is to be ended.
    running.revoke()
    assert running.state == "PROGRESS"
    release.touch()
    assert running.get(timeout=WAIT_S) == mesh.agents[0].id
    assert running.state == "SUCCESS"


def test_an_unknown_task_is_pending(mesh: SyncLocalMesh) -> None:
    unknown = app.AsyncResult("00000000-0000-0000-0000-000000000000")
    assert unknown.state == "PENDING"
    with pytest.raises(CeleryTimeoutError):
        unknown.get(timeout=0.01)


def test_signals(mesh: SyncLocalMesh) -> None:
    seen: list[str] = []
    watched = ("task_prerun", "task_success", "task_failure", "task_retry", "task_postrun")

    def receiver_of(name: str) -> Any:
        def receive(sender: Any, **_: Any) -> None:
            # Of this test's task alone.
            if sender.name == tasks.flaky.name:
                seen.append(name)

        return receive

    receivers = {name: receiver_of(name) for name in watched}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, weak=False)
    try:
        tasks.flaky.delay(1).get(timeout=WAIT_S)
        assert seen == [
            "task_prerun",
            "task_retry",
            "task_postrun",
            "task_prerun",
            "task_success",
            "task_postrun",
        ]
    finally:
        for name, receiver in receivers.items():
            getattr(signals, name).disconnect(receiver)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: tasks.add.delay(1), "missing 1 required positional argument"),
        (lambda: tasks.add.delay(object(), 1), "cannot be written as JSON"),
        (
            lambda: tasks.add.apply_async((1, 1), serializer="pickle"),
            "weft carries JSON: set task_serializer",
        ),
        (lambda: tasks.add.apply_async((1, 1), priority=20), "not 0 to 9"),
        (lambda: tasks.add.apply_async((1, 1), exchange="x", routing_key="y"), "weft has no exchanges"),
        (lambda: app.control.ping(), "use `weft agents list`"),  # noqa: PLW0108 - it is another before the adoption
        (lambda: app.control.purge(), "weft has no purge"),  # noqa: PLW0108
        (lambda: group(tasks.add.s(1, 1)).delay().save(), "cannot be saved"),
    ],
)
def test_what_weft_does_not_do_is_said(mesh: SyncLocalMesh, call: Any, wanted: str) -> None:
    with pytest.raises((EncodeError, TypeError, ValueError, NotImplementedError), match=wanted):
        call()


def test_other_callers(mesh: SyncLocalMesh) -> None:
    """Any client calls a task, and a call that cannot be read is refused."""
    add = Method.of(method_name(f"{PROJECT}.add"), TaskCall, TaskReturn)
    assert mesh.tasks.call(add, TaskCall(args_json="[1, 2]")).result_json == "3"
    assert mesh.tasks.call(add, TaskCall(kwargs_json='{"x": 1, "y": 2}')).result_json == "3"
    wrong = [
        TaskCall(args_json="{}"),
        TaskCall(args_json="[1"),
        TaskCall(args_json="[" * 100_000),
        TaskCall(kwargs_json="[]"),
        TaskCall(message_json='{"headers": 7}'),
        TaskCall(message_json='{"headers": {"retries": "x"}}'),
        TaskCall(args_json='[{"__type__": "datetime", "__value__": {}}]'),
    ]
    for call in wrong:
        with pytest.raises(InvalidArgument, match="_json"):
            mesh.tasks.call(add, call)


def test_beat(mesh: SyncLocalMesh) -> None:
    mesh.schedules.create("celery/gone", f"celery.{PROJECT}/add", b"", Once(datetime(2100, 1, 1, tzinfo=UTC)))
    mesh.schedules.create("other", f"celery.{PROJECT}/add", b"", Once(datetime(2100, 1, 1, tzinfo=UTC)))
    made = {each.name: each for each in apply_beat(app)}
    assert {each.name for each in mesh.schedules.list()} == {
        "celery/every_minute",
        "celery/monday-morning",
        "other",
    }
    # Again: nothing changes.
    assert {each.name: each.uid for each in apply_beat(app)} == {
        name: each.uid for name, each in made.items()
    }
    assert str(made["celery/monday-morning"].timing) == "30 7 * * 1,2,3,4,5 (Europe/Berlin)"
    handle = mesh.schedules.run("celery/monday-morning")
    returned = TaskReturn.FromString(handle.result(timeout_s=WAIT_S))
    assert json.loads(returned.result_json) == ["https://example.org", "feeds", 7]
    assert app.AsyncResult(handle.id).get(timeout=WAIT_S) == ["https://example.org", "feeds", 7]
    for name in ("other", *made):
        mesh.schedules.delete(name)
