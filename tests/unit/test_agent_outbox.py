"""The outbox: the kept and the sent items, their order, and the bounds."""

from __future__ import annotations

from functools import partial

import pytest

from weft.agent.handlers import outcomes
from weft.agent.session.attempt import HeldAttempt
from weft.agent.session.outbox import PROGRESS_WINDOW, Outbox
from weft.rpc.network.channel import BATCH_BYTES, BATCH_ITEMS, MAX_PAYLOAD_BYTES
from weft.v1 import session_pb2, task_pb2


class Desk:
    """An outbox with a stream, as tests want it."""

    def __init__(self) -> None:
        self.changes = 0
        self.outbox = Outbox(self._changed)
        self.wake_ups: list[str] = []
        self.wake = partial(self.wake_ups.append, "first stream")
        self.outbox.attach(self.wake, 1, [])
        self.take()
        self.wake_ups.clear()

    def _changed(self) -> None:
        self.changes += 1

    def hold(self, *task_ids: str) -> list[HeldAttempt]:
        return self.outbox.hold([session_pb2.Assignment(task_id=each, attempt=1) for each in task_ids], 1)

    def finish(self, attempt: HeldAttempt, response: bytes = b"", trailer: bytes = b"") -> bool:
        outcome = task_pb2.Outcome(response=response)
        if trailer:
            outcome.trailers.add(key="t-bin", value=trailer)
        return self.outbox.finish(attempt, outcomes.result(attempt.ref, outcome, crashed=False))

    def take(self, sequence: int = 1, *, overtaking: bool = False) -> session_pb2.ConnectRequest:
        message = session_pb2.ConnectRequest()
        self.outbox.fill(message, self.wake, sequence, overtaking=overtaking)
        return message

    def reconnect(self, *adopted: str) -> list[str]:
        self.outbox.detach(self.wake)
        self.wake = partial(self.wake_ups.append, "second stream")
        lost = self.outbox.attach(
            self.wake, 2, [session_pb2.AttemptRef(task_id=each, attempt=1) for each in adopted]
        )
        return [attempt.ref[0] for attempt in lost]


def ids(message: session_pb2.ConnectRequest) -> list[str]:
    return [each.task_id for each in message.results]


def ack(desk: Desk, task_id: str, *, refused: bool = False) -> int:
    return desk.outbox.ack_results([session_pb2.ResultAck(task_id=task_id, attempt=1, refused=refused)])


def test_one_wake_up_for_all_that_comes_until_it_is_taken() -> None:
    desk = Desk()
    for attempt in desk.hold("a", "b", "c"):
        desk.finish(attempt)

    assert len(desk.wake_ups) == 1
    assert ids(desk.take()) == ["a", "b", "c"]
    assert ids(desk.take()) == []
    (attempt,) = desk.hold("d")
    desk.finish(attempt)
    assert len(desk.wake_ups) == 2


def test_an_attempt_has_one_end() -> None:
    desk = Desk()
    (attempt,) = desk.hold("a")

    assert desk.finish(attempt)
    assert not desk.finish(attempt)
    assert not desk.outbox.release(attempt)
    assert len(desk.take().results) == 1


def test_a_second_assignment_of_the_same_attempt_is_ignored() -> None:
    desk = Desk()
    desk.hold("a")

    assert desk.hold("a") == []


def test_results_are_sent_again_until_acknowledged() -> None:
    desk = Desk()
    for attempt in desk.hold("a", "b"):
        desk.finish(attempt)
    desk.take()
    assert ack(desk, "a") == 0
    assert [held.task_id for held in desk.outbox.held()] == ["b"]
    assert desk.outbox.held()[0].finished

    assert desk.reconnect("b") == []
    assert ids(desk.take()) == ["b"]
    assert ack(desk, "b", refused=True) == 1
    assert desk.outbox.size == 0


def test_what_was_not_adopted_is_lost_and_not_sent() -> None:
    desk = Desk()
    a, b, c = desk.hold("a", "b", "c")
    desk.finish(a)
    desk.outbox.send_progress(b, b"x", lambda: None)

    assert desk.reconnect("c") == ["a", "b"]
    assert not desk.finish(b)
    assert desk.take() == session_pb2.ConnectRequest()
    assert desk.finish(c)
    assert [(held.task_id, held.epoch) for held in desk.outbox.held()] == [("c", 2)]


def test_a_stream_that_was_replaced_gets_nothing() -> None:
    desk = Desk()
    (attempt,) = desk.hold("a")
    old = desk.wake
    desk.reconnect("a")
    desk.finish(attempt)

    assert not desk.outbox.fill(session_pb2.ConnectRequest(), old, 1)
    desk.outbox.detach(old)
    assert ids(desk.take()) == ["a"]


def test_what_may_overtake_has_sent_no_progress() -> None:
    desk = Desk()
    ended, handed_back, streaming = desk.hold("ended", "handed back", "streaming")
    desk.outbox.send_progress(streaming, b"x", lambda: None)
    desk.take()
    desk.finish(ended)
    desk.outbox.release(handed_back)
    desk.outbox.send_progress(streaming, b"y", lambda: None)
    desk.finish(streaming)

    beside = desk.take(overtaking=True)
    assert (ids(beside), list(beside.progress)) == (["ended"], [])
    assert [each.task_id for each in beside.released] == ["handed back"]
    assert desk.take(overtaking=True) == session_pb2.ConnectRequest()
    rest = desk.take()
    assert (ids(rest), [each.payload for each in rest.progress]) == (["streaming"], [b"y"])


def test_progress_waits_for_room_and_comes_before_its_result() -> None:
    desk = Desk()
    (attempt,) = desk.hold("a")
    woken: list[str] = []
    for _ in range(PROGRESS_WINDOW):
        assert desk.outbox.send_progress(attempt, b"x", lambda: woken.append("early"))
    assert not desk.outbox.send_progress(attempt, b"y", lambda: woken.append("room"))
    message = desk.take()
    assert [each.index for each in message.progress] == list(range(1, PROGRESS_WINDOW + 1))

    desk.outbox.ack_progress([session_pb2.ProgressAck(task_id="a", attempt=1, index=2)])
    assert woken == ["room"]
    assert desk.outbox.send_progress(attempt, b"y", lambda: None)
    desk.finish(attempt)
    desk.reconnect("a")
    message = desk.take()
    assert [each.index for each in message.progress] == list(range(3, PROGRESS_WINDOW + 2))
    assert message.results[0].progress_count == PROGRESS_WINDOW + 1


def test_who_waits_for_room_is_woken_when_the_attempt_is_lost() -> None:
    desk = Desk()
    (attempt,) = desk.hold("a")
    woken: list[str] = []
    while desk.outbox.send_progress(attempt, b"x", lambda: woken.append("lost")):
        pass
    desk.outbox.lose(("a", 1))

    assert woken == ["lost"]
    # Dropped, so that the handler runs into its cancellation and not into a wall.
    assert desk.outbox.send_progress(attempt, b"x", lambda: None)


def test_hand_backs_are_kept_until_a_later_heartbeat_is_echoed() -> None:
    desk = Desk()
    a, b = desk.hold("a", "b")
    assert desk.outbox.release(a)
    assert [each.task_id for each in desk.take(sequence=5).released] == ["a"]
    desk.outbox.echoed(4)
    assert desk.outbox.size == 2

    # It broke before the echo: offered again, and handed back again when it was adopted.
    desk.reconnect("a", "b")
    desk.outbox.echoed(9)
    assert [each.task_id for each in desk.take(sequence=1).released] == ["a"]
    desk.outbox.echoed(1)
    assert [held.task_id for held in desk.outbox.held()] == ["b"]
    assert desk.outbox.release_unfinished() == 1
    assert b.released


def test_a_message_is_bounded_by_items_and_bytes() -> None:
    desk = Desk()
    for attempt in desk.hold(*(str(each) for each in range(BATCH_ITEMS + 1))):
        desk.finish(attempt)
    assert len(desk.take().results) == BATCH_ITEMS
    assert len(desk.take().results) == 1

    for attempt in desk.hold("big1", "big2", "big3"):
        desk.finish(attempt, bytes(BATCH_BYTES - 1000))
    for attempt in desk.hold("huge1", "huge2"):
        desk.finish(attempt, bytes(MAX_PAYLOAD_BYTES))
    batches = [ids(desk.take()) for _ in range(4)]
    assert batches == [["big1", "big2"], ["big3", "huge1"], ["huge2"], []]


def test_changes_are_told_only_to_who_watches() -> None:
    desk = Desk()
    a, b = desk.hold("a", "b")
    desk.finish(a)
    assert desk.changes == 0
    desk.outbox.watched = True
    desk.finish(b)
    ack(desk, "a")
    assert desk.changes == 2
    assert desk.outbox.unfinished() == 0


def test_metadata_counts_for_the_size_of_a_batch() -> None:
    desk = Desk()
    for attempt in desk.hold(*map(str, range(24))):
        desk.finish(attempt, trailer=bytes(900 << 10))
    sizes = [desk.take().ByteSize() for _ in range(12)]
    assert 0 < max(sizes) < MAX_PAYLOAD_BYTES
    assert not desk.take().results


def test_held_attempts_are_named_with_their_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.session.outbox.MAX_TREES_TOLD", 2)
    desk = Desk()
    above = [task_pb2.TreeBudget(task_id=each, amounts={"tokens": 1}) for each in ("root", "a")]
    context = task_pb2.CallContext(root_id="root", budgets=above)
    desk.outbox.hold([session_pb2.Assignment(task_id="a", attempt=1, context=context)], 1)
    desk.hold("b")
    first, second = desk.outbox.held()
    assert (first.root_id, list(first.budget_task_ids)) == ("root", ["root", "a"])
    assert (second.root_id, list(second.budget_task_ids)) == ("", [])
    # The greeting of an agent that holds very many stays small.
    desk.hold("c")
    assert [(each.task_id, each.root_id) for each in desk.outbox.held()] == [("a", ""), ("b", ""), ("c", "")]
