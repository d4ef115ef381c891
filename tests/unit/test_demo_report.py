"""The demo's verdict finds each kind of fault."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from corpus.v1 import corpus_pb2
from weft.cli.demo.corpus import SourceFile, standard_library
from weft.cli.demo.demo_report import DemoReport
from weft.cli.demo.demo_run import DemoRecord
from weft.cli.demo.ledger import Ledger
from weft.client import Task
from weft.v1 import task_pb2

FILES = [SourceFile(name, Path(name)) for name in ("a.py", "b.py")]


def task(name: str, *, state: int = task_pb2.TASK_STATE_SUCCEEDED) -> Task:
    response = corpus_pb2.AnalyzeResponse(file_name=name).SerializeToString()
    return Task(
        task_pb2.Task(id=name, state=state, agent_id="a", outcome=task_pb2.Outcome(response=response))
    )


def expected() -> dict[str, str]:
    return {
        file.name: hashlib.sha256(
            corpus_pb2.AnalyzeResponse(file_name=file.name).SerializeToString()
        ).hexdigest()
        for file in FILES
    }


def report(record: DemoRecord, ledger: str = "", tmp_path: Path | None = None) -> DemoReport:
    found = Ledger()
    if tmp_path is not None:
        path = tmp_path / "ledger"
        path.write_text(ledger)
        found = Ledger.read(path)
    return DemoReport(FILES, record, found, expected())


def record(**changes: object) -> DemoRecord:
    found = DemoRecord(
        delivered={0: [task("a.py")], 1: [task("b.py")]}, recorded=2, killed_agent="b", duration_s=2.0
    )
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_a_run_that_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    right = report(record())
    assert right.faults == []
    assert right.figures() | {"recovered_agent_s": 0, "recovered_coordinator_s": 0} == {
        "tasks": 2,
        "succeeded": 2,
        "lost": 0,
        "duplicates": 0,
        "tasks_per_s": 1.0,
        "recovered_agent_s": 0,
        "recovered_coordinator_s": 0,
        "crashes_overlapped": 0,
    }
    right.print_tables()
    right.print_verdict()
    shown = capsys.readouterr().out
    assert "Right: all 2 results" in shown
    assert "the coordinator was killed meanwhile" not in shown


def test_crashes_that_overlap_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(record(crashes_overlapped=True, recovered_agent_s=5.4))
    assert found.figures()["crashes_overlapped"] == 1
    found.print_tables()
    assert "5.4 s  until other agents ran the killed agent's tasks: the coordinator was killed meanwhile" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"delivered": {0: [task("a.py")]}}, "1 files have no result"),
        ({"recorded": 3}, "the coordinator has 3 tasks"),
        ({"delivered": {0: [task("a.py")], 1: [task("a.py")]}}, "b.py: its result differs"),
        ({"delivered": {0: [task("a.py")], 1: [task("b.py")] * 2}}, "b.py: its result was delivered 2 times"),
        (
            {"delivered": {0: [task("a.py")], 1: [task("b.py", state=task_pb2.TASK_STATE_FAILED)]}},
            "b.py: UNKNOWN",
        ),
    ],
)
def test_a_run_that_is_wrong(wrong: dict[str, object], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(record(**wrong))
    assert any(says in fault for fault in found.faults), found.faults
    found.print_tables()
    found.print_verdict()
    assert "WRONG" in capsys.readouterr().err


def test_the_ledger_counts_what_ran(tmp_path: Path) -> None:
    # a.py was begun by b, which was killed; c.py was ended twice.
    path = tmp_path / "ledger"
    path.write_text(
        "start b a.py\nstart a a.py\nend a a.py\nstart a a file.py\nend a a file.py\n"
        "start b c.py\nend b c.py\nstart a c.py\nend a c.py\n"
    )
    ledger = Ledger.read(path)
    assert (ledger.begun["a file.py"], ledger.begun_by["b"], ledger.ended_by["b"]) == (1, 2, 1)
    assert (ledger.re_runs, ledger.duplicates) == (2, 1)


def test_the_standard_library_is_named_and_spread() -> None:
    everything = standard_library()
    names = [file.name for file in everything]
    assert len(set(names)) == len(names) > 500
    assert names == sorted(names)
    assert {"argparse.py", "asyncio/tasks.py"} <= set(names)
    assert not any("site-packages" in name for name in names)
    some = standard_library(50)
    assert len(some) == 50
    assert set(some) < set(everything)
    assert some[0] == everything[0]
    assert some[-1].name > names[len(names) * 9 // 10]
