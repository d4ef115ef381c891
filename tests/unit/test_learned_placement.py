"""The placement that learns, alone and in the replay of a trace: better where agents differ, and bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import placement_replay as replay
from examples.placement import learned
from examples.placement.learned import LearnedPlacement
from weft.coordinator.dispatch.placement_plugin import FreeAgent

M = "acme.v1.Model/Train"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def agent(name: str, used: int = 0) -> FreeAgent:
    return FreeAgent(name, 4, used, {}, {})


def test_the_quickest_is_preferred_once_it_is_known() -> None:
    placement = LearnedPlacement(Clock())
    # The unknown one is tried first.
    placement.ended(M, "slow", 3.0, True)
    assert placement.rank(M, agent("new")) < placement.rank(M, agent("slow"))
    for _ in range(10):
        placement.ended(M, "quick", 1.0, True)
        placement.ended(M, "slow", 3.0, True)
    assert placement.rank(M, agent("quick")) < placement.rank(M, agent("slow"))
    # Of equal ones the one with fewer tasks.
    assert placement.rank(M, agent("quick")) < placement.rank(M, agent("quick", 2))
    # A quick failure is no quick run.
    before = placement.rank(M, agent("slow"))
    placement.ended(M, "slow", 0.001, False)
    assert placement.rank(M, agent("slow")) == before


def test_old_knowledge_is_doubted() -> None:
    clock = Clock()
    placement = LearnedPlacement(clock)
    for _ in range(20):
        placement.ended(M, "slow", 1.9, True)
    sure = placement.rank(M, agent("slow"))
    clock.now_s = 10 * learned.HALF_LIFE_S
    for _ in range(20):
        placement.ended(M, "quick", 1.0, True)
    assert placement.rank(M, agent("slow")) < sure
    # So it is tried again some day, and then known to be quick.
    for _ in range(4):
        placement.ended(M, "slow", 0.5, True)
    assert placement.rank(M, agent("slow")) < placement.rank(M, agent("quick"))


def test_what_it_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MAX_PAIRS", 10)
    placement = LearnedPlacement(Clock())
    for number in range(100):
        placement.ended(f"m{number}", "a", 1.0, True)
    assert len(placement._known) == 10
    assert len(placement._best_s) <= 11


def test_the_replay_is_the_same_each_time_and_shows_who_gains(capsys: pytest.CaptureFixture[str]) -> None:
    trace = [each for each in replay.poisson(20, (replay.RENDER, replay.INDEX)) if each.at_s < 60]
    replay.compare("specialists", trace)
    replay.compare("equal", trace)
    first = capsys.readouterr().out.splitlines()
    replay.compare("specialists", trace)
    assert capsys.readouterr().out.splitlines() == first[:1]
    gains = [float(line.split("|")[-2].strip(" %")) for line in first]
    assert gains[0] < -10
    assert abs(gains[1]) < 3


def test_a_trace_of_a_file_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"at_s": at / 10, "method": replay.RENDER, "work_s": 0.2}) for at in range(40)]
    (tmp_path / "trace").write_text("\n".join(lines))
    monkeypatch.setattr("sys.argv", ["placement_replay.py", "--trace", str(tmp_path / "trace")])
    replay.main()
    assert capsys.readouterr().out.splitlines()[-1].startswith("| specialists |")
