"""The picture of `make demo-agents`, and its measurements: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

from examples.demo_agents.measure_files import measure
from examples.demo_agents.picture import Bar, bars_of, picture, rows_of
from examples.demo_agents.run_watch import RunRecord
from weft.client import Task
from weft.v1 import task_pb2

BEGAN = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def task(task_id: str, method: str, *attempts: tuple[str, float, float, bool]) -> Task:
    """A task with attempts: agent, begin and end in seconds, and whether it was lost."""
    made = task_pb2.Task(id=task_id, method=method)
    made.create_time.FromDatetime(BEGAN)
    for number, (agent_id, begins_s, ends_s, lost) in enumerate(attempts, 1):
        attempt = made.attempts.add(number=number, agent_id=agent_id, crashed=lost)
        attempt.start_time.FromDatetime(BEGAN + timedelta(seconds=begins_s))
        attempt.end_time.FromDatetime(BEGAN + timedelta(seconds=ends_s))
        made.finish_time.FromDatetime(BEGAN + timedelta(seconds=ends_s))
    return Task(made)


def record() -> RunRecord:
    return RunRecord(
        response={"output": {"parts": [{"name": "<email>"}]}},
        tasks=[
            task("run", "weft.services.planner.v1.PlannerService/RunGraph", ("desk", 0, 10, False)),
            task("part", "demo.v1.Study/Measure", ("worker-1", 1, 4, True), ("worker-2", 4, 9, False)),
        ],
        steps={"part": "part[0]"},
        killed="worker-1",
        killed_at=BEGAN + timedelta(seconds=2),
        held=["part"],
    )


def test_attempts_are_bars() -> None:
    bars, length_s = bars_of(record())
    assert length_s == 10
    assert [(bar.agent, bar.begins_s, bar.ends_s, bar.label, bar.kind) for bar in bars] == [
        ("desk", 0, 10, "the run", "planner"),
        ("worker-1", 1, 4, "<email>: lost", "lost or failed"),
        ("worker-2", 4, 9, "<email>", "study"),
    ]
    assert record().recovered_s == 2


def test_bars_of_one_time_are_in_rows_of_their_own() -> None:
    bars = [Bar("a", *times, "", "study", "") for times in ((0, 4), (1, 2), (2, 3), (4, 5))]
    rows = rows_of(bars)["a"]
    assert [[bar.begins_s for bar in row] for row in rows] == [[0, 4], [1, 2]]


def test_names_are_no_markup() -> None:
    found = ET.fromstring(picture(record(), "a & b"))
    texts = [each.text for each in found.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "<email>", "kill -9", "worker-2"} <= set(texts)


def test_files_are_measured() -> None:
    source = b"class A:\n    def f(self):\n        return 1\n\nasync def g(): pass\n"
    assert measure([("a.py", source), ("b.py", b"def (")]) == {
        "files": 2,
        "lines": 5,
        "functions": 2,
        "classes": 1,
        "unparsed": ["b.py"],
        "longest_lines": 2,
        "longest": "a.py:f",
    }
