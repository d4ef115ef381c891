"""How the harness judges: by facts that are written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.chaos.harness import gatherings, sharing, timing, verdict
from tests.chaos.harness.chain import FALLEN, FIRST, GATHERED, SECOND
from tests.chaos.harness.deployment import Part
from tests.chaos.harness.faults import Blow
from tests.chaos.harness.gate_verdict import overrun_gates
from tests.chaos.harness.items import RUNNING, RUNNING_PER_KEY, Item, Recorded
from tests.chaos.harness.topic import Taken
from tests.chaos.harness.topic import judged as judged_events
from tests.support.ledger import Fact
from weft.rpc.times import timestamp
from weft.v1 import group_pb2, task_pb2

AGENTS = frozenset({"a1", "a2"})
KILLED = Blow("agent-killed", Part.AGENT, "a1", 10, 11, disowned=frozenset({"a1"}), disowned_until_s=10)
RESTARTED = Blow(
    "coordinator-killed", Part.COORDINATOR, "c", 10, 10, disowned_until_s=10, volatile=True, bereft=AGENTS
)
# Of a shared store: what it had begun to store is there.
OTHER_LEFT = replace(RESTARTED, volatile=False, bereft=frozenset({"a2"}))


def start(text: str, attempt: int, agent_id: str, time_s: float) -> Fact:
    return Fact("start", text, attempt, agent_id, time_s)


def item(*, repeated: bool = False, fail_attempts: int = 0) -> Item:
    request = ProbeRequest(text="t", fail_attempts=fail_attempts, fail_code=14 if fail_attempts else 0)
    return Item("t", "Call", request, task_id="T", repeated=repeated)


def ended(attempt: int, agent_id: str, at_s: float, answered: tuple[str, int, str] | None = None) -> Item:
    made = item()
    made.end = Recorded(b"", attempt, agent_id, at_s, answered, "T")
    return made


@pytest.mark.parametrize(
    ("made", "facts", "blow", "count", "unexplained"),
    [
        (item(), [start("t", 1, "a1", 9)], KILLED, 0, 0),
        (item(), [start("t", 1, "a1", 9), start("t", 2, "a2", 12)], KILLED, 1, 0),
        # The one that ran it did not die.
        (item(), [start("t", 1, "a3", 9), start("t", 2, "a2", 12)], KILLED, 1, 1),
        # It was given away before its agent died, or began after.
        (item(), [start("t", 1, "a1", 8), start("t", 2, "a2", 9)], KILLED, 1, 1),
        (item(), [start("t", 1, "a1", 11), start("t", 2, "a2", 12)], KILLED, 1, 1),
        # Its handler asked for another attempt.
        (item(fail_attempts=1), [start("t", 1, "a3", 8), start("t", 2, "a2", 9)], KILLED, 0, 0),
        # The death of a coordinator explains only what it had not acknowledged.
        (item(), [start("t", 1, "a1", 9), start("t", 1, "a2", 12)], RESTARTED, 1, 1),
        (item(repeated=True), [start("t", 1, "a1", 9), start("t", 1, "a2", 12)], RESTARTED, 1, 0),
        (item(repeated=True), [start("t", 1, "a1", 9), start("t", 1, "a2", 12)], OTHER_LEFT, 1, 1),
    ],
)
def test_duplicates(made: Item, facts: list[Fact], blow: Blow, count: int, unexplained: int) -> None:
    found, notes = verdict.duplicates([made], verdict.starts_of(facts), [blow])
    assert (found, len(notes)) == (count, unexplained)


@pytest.mark.parametrize(
    ("made", "facts", "count"),
    [
        (ended(2, "a2", 15, ("T", 2, "a2")), [start("t", 1, "a1", 9), start("t", 2, "a2", 12)], 0),
        # The first attempt's result is on record, and the second had begun.
        (ended(1, "a1", 15), [start("t", 1, "a1", 9), start("t", 2, "a2", 12)], 1),
        # ... or it is on record as the second one's.
        (ended(2, "a2", 15, ("T", 1, "a1")), [start("t", 1, "a1", 9), start("t", 2, "a2", 12)], 1),
        # A number that is used again after a coordinator's death is newer than it looks.
        (ended(1, "a3", 15), [start("t", 2, "a2", 9), start("t", 1, "a3", 12)], 0),
        # One that starts late, when it is disowned already, has no result on record.
        (ended(2, "a2", 15), [start("t", 2, "a2", 12), start("t", 1, "a1", 13)], 0),
    ],
)
def test_stale_accepted(made: Item, facts: list[Fact], count: int) -> None:
    assert len(verdict.stale_accepted([made], verdict.starts_of(facts))) == count


def test_first_claim_is_of_what_the_victim_held() -> None:
    facts = [
        start("done", 1, "a1", 8),
        Fact("end", "done", 1, "a1", 9),
        start("held", 1, "a1", 9.5),
        start("other", 1, "a2", 10.1),
        start("held", 2, "a2", 12.5),
    ]
    assert timing.first_claim_s(KILLED, facts, {"done", "held", "other"}) == pytest.approx(2.5)
    # The last of the agents that had nobody to ask.
    assert timing.first_claim_s(OTHER_LEFT, facts, set()) == pytest.approx(0.1)
    assert timing.first_claim_s(RESTARTED, [*facts, start("more", 1, "a1", 10.7)], set()) == pytest.approx(
        0.7
    )
    assert timing.first_claim_s(KILLED, facts, {"other"}) is None


def test_recovery_is_the_first_window_at_the_steady_rate() -> None:
    before = [n / 100 for n in range(1000)]
    slower = [10 + n / 50 for n in range(150)]
    after = [13 + n / 100 for n in range(200)]
    steady = timing.steady_rate(before, 5, 10)
    assert steady == pytest.approx(50, abs=1)
    found = timing.recovered_s(KILLED, [*before, *slower, *after], steady)
    assert found == pytest.approx(2, abs=0.1)
    assert timing.recovered_s(KILLED, [*before, *slower], steady) is None


def _locked(text: str, *, shared: bool) -> Item:
    made = Item(text, "CallSync", ProbeRequest(text=text), key="k", lock=("db", shared))
    return made


@pytest.mark.parametrize(
    ("one_shared", "other_shared", "other_from_s", "blows", "overruns"),
    [
        (False, False, 2, (), 1),
        (False, True, 2, (), 1),
        (True, True, 2, (), 0),
        # The first one has ended.
        (False, False, 3, (), 0),
        # Its agent was given up meanwhile, and ran on.
        (False, False, 2, (replace(KILLED, struck_at_s=1.5, lifted_at_s=1.6, disowned_until_s=1.6),), 0),
    ],
)
def test_a_lock_is_held_as_it_may(
    one_shared: bool, other_shared: bool, other_from_s: float, blows: tuple[Blow, ...], overruns: int
) -> None:
    items = [_locked("one", shared=one_shared), _locked("other", shared=other_shared)]
    facts = [
        start("one", 1, "a1", 1),
        Fact("end", "one", 1, "a1", 3),
        start("other", 1, "a2", other_from_s),
        Fact("end", "other", 1, "a2", 5),
    ]
    assert len(overrun_gates(items, facts, blows)) == overruns


def test_a_run_limit_is_held_in_all_and_by_key() -> None:
    items = [Item(f"t{n}", "Call", ProbeRequest(), key=f"k{n % 4}") for n in range(RUNNING)]
    facts = [start(item.request_id, 1, "a1", 1 + n) for n, item in enumerate(items)]
    facts += [Fact("end", item.request_id, 1, "a1", 100) for item in items]
    assert overrun_gates(items, facts, ()) == []
    for more in (
        Item("more", "Call", ProbeRequest(), key="other"),
        Item("more", "CallSync", ProbeRequest(), key="k1"),
    ):
        over = [*facts, start("more", 1, "a2", 50), Fact("end", "more", 1, "a2", 51)]
        assert len(overrun_gates([*items, more], over, ())) == (more.name == "Call")
    same = [replace_key(item, "k0") for item in items[: RUNNING_PER_KEY + 1]]
    assert len(overrun_gates(same, facts, ())) == 1


def replace_key(item: Item, key: str) -> Item:
    return Item(item.request_id, item.name, item.request, key=key)


def test_an_agent_has_so_much_of_a_resource() -> None:
    items = [Item(f"t{n}", "CallSync", ProbeRequest(), key="k", gpus=1 + (n == 2)) for n in range(3)]
    facts = [Fact("end", item.request_id, 1, agent_id, 9) for item in items for agent_id in ("a1", "a2")]
    both = [start("t0", 1, "a1", 1), start("t1", 1, "a1", 2), *facts]
    assert overrun_gates(items, [*both, start("t2", 1, "a2", 3)], ()) == []
    assert overrun_gates(items, [*both, start("t2", 1, "a1", 3)], ())


SUCCEEDED, FAILED = task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_FAILED


def _task(task_id: str, text: str, *, fell: bool = False, code: int = 0, **fields: float) -> task_pb2.Task:
    """A task that has ended; it began at 1 and ended at 2, unless `fields` say something else."""
    task = task_pb2.Task(id=task_id, state=FAILED if code else SUCCEEDED)
    for field, at_s in ({"create_time": 1.0, "start_time": 1.0, "finish_time": 2.0} | fields).items():
        getattr(task, field).CopyFrom(timestamp(at_s))
    task.outcome.status.code = code
    if not code:
        task.outcome.response = ProbeReply(text=text, index=FALLEN if fell else 0).SerializeToString()
    if fell:
        task.fallback_of, task.outcome.fallback = FIRST, SECOND
    return task


def _member(text: str, code: int = 0, *, falls: bool = False) -> Item:
    request = ProbeRequest(text=text, fail_code=code)
    return Item(text, FIRST, request, task_id=text.upper(), falls=falls)


def _gathering() -> gatherings.Gathering:
    members = [
        _member("a"),
        _member("b", code_pb2.INTERNAL, falls=True),
        _member("c", code_pb2.INVALID_ARGUMENT),
    ]
    return gatherings.Gathering("g", Item("then", GATHERED, ProbeRequest()), members)


RIGHT = (
    _task("A", "a"),
    _task("B", "b", fell=True),
    _task("C", "c", code=code_pb2.INVALID_ARGUMENT),
)
TOLD = group_pb2.Group(
    counts=group_pb2.GroupCounts(succeeded=2, failed=1), callback_task_id="T", end_time=timestamp(2.0)
)
TOLD_WITHOUT_ONE = group_pb2.Group(
    counts=group_pb2.GroupCounts(succeeded=1, failed=1), callback_task_id="T", end_time=timestamp(2.0)
)
THEN = _task("T", "then", create_time=3.0, finish_time=4.0)


@pytest.mark.parametrize(
    ("listed", "told", "callbacks", "wrong"),
    [
        (RIGHT, TOLD, [THEN], ""),
        # One was lost, and is not counted either.
        (RIGHT[1:], TOLD_WITHOUT_ONE, [THEN], "3 were acknowledged"),
        (RIGHT, group_pb2.Group(callback_task_id="T", end_time=timestamp(2.0)), [THEN], "counts"),
        (RIGHT, TOLD, [], "0 were submitted"),
        (RIGHT, TOLD, [THEN, _task("U", "then", create_time=3.0)], "2 were submitted"),
        (RIGHT, TOLD, [_task("T", "then", create_time=1.5)], "0.5 s before its last end"),
        # A fallback without a reason, one that did not come, and one of a caller's fault.
        ((_task("A", "a", fell=True), *RIGHT[1:]), TOLD, [THEN], "a fell back"),
        ((RIGHT[0], _task("B", "b"), RIGHT[2]), TOLD, [THEN], "b fell back"),
        ((*RIGHT[:2], _task("C", "c", fell=True)), TOLD, [THEN], "c should have failed, at its own method"),
        ((_task("A", "b"), *RIGHT[1:]), TOLD, [THEN], "somebody else's response"),
    ],
)
def test_a_group_and_its_callback(
    listed: tuple[task_pb2.Task, ...], told: group_pb2.Group, callbacks: list[task_pb2.Task], wrong: str
) -> None:
    found = gatherings.judged(_gathering(), told, listed, callbacks)
    assert (wrong in " ".join(found)) if wrong else found == []


@pytest.mark.parametrize(
    ("answers", "made", "wrong"),
    [
        ([sharing.Answer("x", "A", 2.5, True)], [_task("A", "x")], ""),
        ([sharing.Answer("y", "A", 2.5, True)], [_task("A", "x")], "which is of x"),
        ([sharing.Answer("x", "A", 3.5, True)], [_task("A", "x")], "a result of 1.5 s ago"),
        ([], [_task("A", "x"), _task("B", "x", create_time=2.9, start_time=3.1)], ""),
        ([], [_task("A", "x"), _task("B", "x", create_time=2.4, start_time=2.5)], "ran again as B, 0.5 s"),
        ([], [_task("A", "x"), _task("B", "y", create_time=2.4, start_time=2.5)], ""),
    ],
)
def test_cached_results(answers: list[sharing.Answer], made: list[task_pb2.Task], wrong: str) -> None:
    found = sharing.judged(answers, made)
    assert (wrong in " ".join(found)) if wrong else found == []


def taken(**changes: list[str]) -> Taken:
    """All of four events, taken rightly by all, but for the changes."""
    every = ["a/0", "b/0", "a/1", "b/1"]
    right = {
        "stored": every,
        "followed": every,
        "consumed": [*every, "a/1"],
        "started": ["b/0", "b/1", *every],
    }
    return Taken(acknowledged={"a/0", "b/1"}, **{**right, **changes})


def all_took(texts: list[str]) -> Taken:
    return taken(stored=texts, followed=texts, consumed=texts, started=texts)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (taken(), []),
        # What was not acknowledged need not be there.
        (all_took(["a/0", "b/1"]), []),
        (
            all_took(["a/0"]),
            ["b/1 is lost by the topic"],
        ),
        (taken(consumed=["a/0", "b/0", "a/1"]), ["b/1 is lost by consumers"]),
        (taken(started=["a/0", "b/0", "b/1"]), ["a/1 is lost by tasks"]),
        (taken(followed=["a/0", "b/0", "a/1"]), ["b/1 is lost by the follower"]),
        (taken(followed=["a/0", "b/0", "a/1", "a/1", "b/1"]), ["the follower has an event twice"]),
        (taken(stored=["a/0", "b/0", "a/1", "a/1", "b/1"]), ["the topic has an event twice"]),
        (taken(consumed=["a/1", "a/0", "b/0", "b/1"]), ["a/0 came after a/1 to consumers"]),
        (taken(started=["a/0", "b/1", "a/1", "b/0"]), ["b/0 came after b/1 to tasks"]),
        (taken(started=["a/0", "b/0", "a/1", "b/1", "c/0"]), ["c/0 is not of the topic, at tasks"]),
    ],
)
def test_events(made: Taken, told: list[str]) -> None:
    found = judged_events(made)
    assert len(found) == len(told), found
    assert all(text in each for each, text in zip(found, told, strict=True))
