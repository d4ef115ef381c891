"""The lines that an agent keeps of its attempts: the last ones, within every bound; and its answers to those who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from weft.agent.session import kept_logs, log_answers
from weft.agent.session.attempt import Ref
from weft.agent.session.kept_logs import KeptLogs
from weft.agent.session.log_answers import LogAnswers
from weft.rpc.process import log_context
from weft.rpc.process.logs import get_logger
from weft.rpc.times import duration
from weft.v1 import logs_pb2

T = 10


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def entry(ref: Ref, event: str, **fields: object) -> dict[str, object]:
    return {"task_id": ref[0], "attempt": ref[1], "agent_id": "a", "method": "m", "event": event, **fields}


def kept(max_lines: int, running: Iterable[Ref], clock: Clock | None = None) -> KeptLogs:
    runs = set(running)
    return KeptLogs(max_lines, 60.0, runs.__contains__, lambda _: None, clock or Clock())


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 40_000), st.floats(0, 30)), max_size=60
)


@given(STEPS, st.integers(1, 5), st.sets(st.integers(0, 3)))
def test_the_last_lines_within_all_bounds(
    steps: list[tuple[int, int, int, float]], max_lines: int, running: set[int]
) -> None:
    """A model: each attempt's own list of lines."""
    clock = Clock()
    logs = kept(max_lines, [(f"t{number}", 1) for number in running], clock)
    model: dict[Ref, list[str]] = {}
    for number, repeats, size, pause_s in steps:
        clock.now_s += pause_s
        ref = (f"t{number}", 1)
        for _ in range(repeats):
            logs.add("info", entry(ref, "e", text="x" * size))
            if number in running:
                model.setdefault(ref, []).append("e")
    assert logs.size_bytes <= kept_logs.MAX_BYTES
    for ref, lines in model.items():
        found = logs.read(ref, 0)
        assert found is not None, "a running attempt's lines are kept, however old"
        assert found.last_sequence == len(lines)
        assert 1 <= len(found.lines) <= max_lines
        assert [line.sequence for line in found.lines] == list(
            range(len(lines) - len(found.lines) + 1, len(lines) + 1)
        )
        assert (
            len(found.lines) == 1
            or sum(line.ByteSize() for line in found.lines) <= kept_logs.MAX_ATTEMPT_BYTES
        )
        assert logs.read(ref, found.last_sequence) == kept_logs.Read([], False, len(lines))
    assert set(model) == {ref for ref in model if logs.read(ref, 0)}


def test_lines_of_ended_attempts_go_after_a_while() -> None:
    clock = Clock()
    running = {("t", 1)}
    logs = KeptLogs(10, 60.0, running.__contains__, lambda _: None, clock)
    logs.add("info", entry(("t", 1), "e"))
    clock.now_s = 100.0
    assert logs.read(("t", 1), 0), "it runs"
    running.clear()
    clock.now_s = 150.0
    logs.add("info", entry(("t", 1), "late"))
    clock.now_s = 205.0
    found = logs.read(("t", 1), 0)
    assert found is not None
    assert [line.event for line in found.lines] == ["e", "late"]
    clock.now_s = 300.0
    assert logs.read(("t", 1), 0) is None
    assert (len(logs), logs.size_bytes) == (0, 0)
    logs.add("info", entry(("t", 1), "much later"))
    assert logs.read(("t", 1), 0) is None


def test_all_attempts_together_are_bounded() -> None:
    refs = [(f"t{number}", 1) for number in range(kept_logs.MAX_ATTEMPTS + 10)]
    logs = kept(10, refs)
    for ref in refs:
        logs.add("info", entry(ref, "e", text="x" * 900))
    assert len(logs) == kept_logs.MAX_ATTEMPTS
    assert logs.read(refs[0], 0) is None
    assert logs.read(refs[-1], 0)


def test_lines_of_any_content() -> None:
    logs = kept(10, [("t", 1)])
    for odd in (entry(("t", 2), "other"), {"event": "x"}, {"task_id": 1, "attempt": "2", "event": "x"}):
        logs.add("info", odd)
    logs.add(
        "error",
        entry(("t", 1), "\udcff" * 9000, exception="x" * 50_000 + "last", a=None, b=[1], **{"": "\ud800"}),
    )
    found = logs.read(("t", 1), 0)
    assert found is not None
    (line,) = found.lines
    assert line.exception.endswith("last")
    assert line.fields["b"] == "[1]"
    assert line.ByteSize() < 40_000


async def test_answers() -> None:
    """At once if there are lines or the attempt has ended, else with the next line, the end, or after the time."""
    running = {("t", 1), ("quiet", 1)}
    answers = LogAnswers(asyncio.get_running_loop(), 10, 60.0, running.__contains__)
    answers.start()
    got: asyncio.Queue[logs_pb2.LogReply] = asyncio.Queue()

    def ask(request_id: int, task_id: str, wait_s: float = T, after: int = 0) -> None:
        request = logs_pb2.LogRequest(
            request_id=request_id, task_id=task_id, attempt=1, after_sequence=after, wait=duration(wait_s)
        )
        answers.ask([request], got.put_nowait)

    async def answer() -> tuple[int, int, bool]:
        reply = await asyncio.wait_for(got.get(), T)
        return reply.request_id, len(reply.lines), reply.ended

    try:
        ask(1, "unknown")
        assert await answer() == (1, 0, True)
        ask(2, "t", 0.0)
        assert await answer() == (2, 0, False)
        ask(3, "t")
        assert got.empty()
        log = get_logger("weft.test")
        # Through the log of this process, from another thread.
        await asyncio.to_thread(log.warning, "thing.happened", task_id="t", attempt=1)
        assert await answer() == (3, 1, False)
        ask(4, "t")
        assert await answer() == (4, 1, False)
        ask(5, "t", after=1)
        running.discard(("t", 1))
        answers.attempt_ended(("t", 1))
        assert await answer() == (5, 0, True)
        ask(6, "quiet", 0.01)
        assert await answer() == (6, 0, False)
        for number in range(log_answers.MAX_WAITING + 1):
            ask(number, "quiet")
        assert await answer() == (log_answers.MAX_WAITING, 0, False)
        assert got.empty()
    finally:
        answers.close()
    log.warning("thing.happened", task_id="t", attempt=1)
    assert not log_context._watchers


def test_a_watcher_that_fails_costs_no_line(caplog) -> None:
    def fail(_level: str, _entry: object) -> None:
        raise ValueError("broken")

    log_context.watch(fail)
    try:
        get_logger("weft.test").warning("thing.happened")
    finally:
        log_context.unwatch(fail)
    assert "thing.happened" in caplog.text
