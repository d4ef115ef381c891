"""`make demo-agents` as people run it: complete and right, with and without what a machine may lack, and nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.support.left_behind import processes_of
from tests.support.processes import ROOT, environment

# Longer than others: eight processes start, which takes long on a machine that has other work.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SVG = "{http://www.w3.org/2000/svg}"


def study(folder: Path, **variables: str) -> tuple[dict[str, Any], str, list[str]]:
    """The figures, what it said, and what the bars of the picture say."""
    own = folder / "own"
    own.mkdir()
    image = folder / "run.svg"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "examples.demo_agents", "--json"),
            *("--limit", "250", "--picture", str(image)),
        ],
        cwd=ROOT,
        env=environment({"TMPDIR": str(own)}) | variables,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert processes_of(own) == []
    assert list(own.iterdir()) == []
    titles = [each.text or "" for each in ET.parse(image).iter(f"{SVG}title")]
    return json.loads(done.stdout), done.stderr, titles


def test_the_services_do_a_job_together_while_an_agent_dies(tmp_path: Path) -> None:
    figures, said, bars = study(tmp_path)
    assert figures["faults"] == []
    assert figures["git"]
    assert figures["files"] > 50
    assert figures["tasks"] > figures["parts"] > 10
    assert figures["attempts_lost"] >= 1
    assert figures["recovered_s"] > 0
    assert f"killed {figures['killed']} (SIGKILL)" in said
    assert any(": lost" in each for each in bars)
    for service in ("hardware", "arbiter", "repositories", "planner", "assigner"):
        assert any(f"weft.services.{service}.v1." in each for each in bars), bars
    if not figures["model"]:
        assert "no model: " in said
        assert figures["summary_by"] == "rules"


def test_a_machine_without_git_and_sandboxes_does_it_otherwise(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nmatch = "functions"\nanswer = "There are functions."\n')
    empty = tmp_path / "no-programs"
    empty.mkdir()
    backend = {"WEFT_MODELS_BACKENDS": f"rules=rules+{rules}", "WEFT_MODELS_MODELS": "rules/rules"}
    figures, said, bars = study(tmp_path, PATH=os.fspath(empty), **backend)
    assert figures["faults"] == []
    assert (figures["git"], figures["sandbox"], figures["model"]) == (False, False, True)
    assert "no git: git is not installed" in said
    assert "no sandbox: " in said
    assert figures["summary_by"] == "rules of rules"
    assert not any("RepositoryService" in each for each in bars)
    assert any("ModelService/ChatOnce" in each for each in bars)
