"""`weft conformance` passes the Python agent, and finds each broken rule."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.broken_agent import FAULTS
from tests.support.conformance import broken, conformance
from tests.support.processes import ROOT, Process, environment, until
from tests.support.soak import soak
from weft.cli.conformance.conformance_command import _checked, document
from weft.cli.conformance.conformance_command import conformance as command
from weft.cli.conformance.protocol_rules import RULES
from weft.cli.conformance.run_checks import CHECKS

# The one that the command's help names, as it is written there.
(EXAMPLE,) = re.findall(r'--agent "weft (.+)"', command.__doc__ or "")
PYTHON_AGENT = f"{sys.executable} -m weft.cli.main {EXAMPLE}"
BROKEN_AGENT = f"{sys.executable} -m tests.support.broken_agent"


async def test_some_rules_of_the_python_agent() -> None:
    status, document = await conformance(PYTHON_AGENT, "--rules", "R1,R6,R11,R22,R30")
    assert broken(document) == {}
    assert (status, document["passed"]) == (0, 5)


async def test_a_broken_agent_fails_and_says_why() -> None:
    status, document = await conformance(f"{BROKEN_AGENT} R6", "--rules", "R1,R6")
    assert status == 1
    assert list(broken(document)) == ["R6"]
    assert "SHA-256" in broken(document)["R6"]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_the_python_agent_keeps_every_rule() -> None:
    status, document = await conformance(PYTHON_AGENT)
    assert broken(document) == broken(document, "left_out") == broken(document, "skipped") == {}
    assert (status, document["passed"]) == (0, len(RULES))


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", [pytest.param(rule, marks=soak if turn % 3 else ()) for turn, rule in enumerate(FAULTS)]
)
async def test_a_broken_rule_is_found(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: the tests above start the command."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    words = [*BROKEN_AGENT.split(), rule]
    found, _ = await _checked(words, "127.0.0.1:0", [rule], 100, tmp_path / "agent.log", lambda _: None)
    verdict = "left_out" if RULES[rule].optional else "failed"
    assert list(broken(document(found), verdict)) == [rule]


async def test_an_agent_that_does_not_come_is_a_failure() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weft.cli.main", "conformance", "--agent", "echo nobody here"),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, remarks = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "nobody here" in remarks.decode()


def test_the_rules_are_those_of_the_documentation() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text()
    documented = dict(re.findall(r"^\*\*(R\d+)\. (.+?)\*\*", text, re.MULTILINE))
    assert documented == {rule: each.title for rule, each in RULES.items()}
    assert set(CHECKS) == set(RULES)
    assert set(FAULTS) == set(RULES)
    optional = set(re.findall(r"^\*\*(R\d+)\. .+?\*\* \(optional\)", text, re.MULTILINE))
    assert optional == {rule for rule, each in RULES.items() if each.optional}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_a_signal_leaves_no_agent_and_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    # One that starts, dials and then lets the driver wait.
    words = ["conformance", "--agent", PYTHON_AGENT, "--rules", "R9"]
    process = Process.weft("driver", *words, log=tmp_path / "log", env={"TMPDIR": str(tmp_path)})
    try:

        def agents() -> list[psutil.Process]:
            return psutil.Process(process.pid).children(recursive=True)

        await until(lambda: bool(agents()) or not process.alive, "the agent has started")
        started = agents()
        process.signal(number)
        assert await process.wait() == 128 + number, process.output()
        assert not psutil.wait_procs(started, 5)[1]
        assert not list(tmp_path.glob("weft-conformance-*"))
        assert "Traceback" not in process.output()
    finally:
        process.cleanup()
