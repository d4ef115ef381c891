"""`weft up`: all processes in one terminal, and none left behind."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.command import weft
from tests.support.mesh import PROBE_AGENT
from tests.support.processes import Process, until
from tests.support.scraped import scrape
from weft.cli.commands import up_command

# The metrics' port of one process only; nothing may open it here.
UNREACHABLE = "127.0.0.1:1"
CALL = "probe.v1.ProbeService/Call"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    """Processes that a test starts; none is left at its end."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        for child in psutil.Process(process.pid).children(recursive=True) if process.alive else ():
            child.kill()
        process.cleanup()


def up(started: list[Process], folder: Path, *args: str) -> Process:
    flags = ["--listen", "127.0.0.1:0", "--store", str(folder / "weft.db")]
    process = Process.weft("up", "up", *args, *flags, log=folder / "up.log")
    started.append(process)
    return process


async def serving(process: Process) -> str:
    """The address, once it says that all is there."""
    await until(lambda: "serving on" in process.output() or not process.alive, "it serves", timeout_s=40)
    found = re.search(r"serving on (\S+);", process.output())
    assert found is not None, process.output()
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_up_calls_and_down(tmp_path: Path, started: list[Process], number: signal.Signals) -> None:
    # Settings of the coordinator and of the agents are in a file; where one process serves metrics is not for all of them.
    file = tmp_path / "weft.toml"
    file.write_text(
        f'[coordinator]\nlisten = "127.0.0.1:0"\nstore = "weft.db"\nmetrics = "{UNREACHABLE}"\n'
        f'[agent]\nslots = 3\nmetrics = "{UNREACHABLE}"\n'
    )
    words = ["up", PROBE_AGENT, "-n", "2", "--metrics", "127.0.0.1:0", "--config", str(file)]
    words += ["--hooks", "127.0.0.1:0"]
    process = Process.weft("up", *words, log=tmp_path / "up.log")
    started.append(process)
    target = await serving(process)
    assert (tmp_path / "weft.db").exists()
    children = psutil.Process(process.pid).children(recursive=True)
    done = await weft("call", CALL, '{"text": "hi"}', target=target)
    assert done.document["agentId"] in {"agent-1", "agent-2"}

    assert re.search(r"coordinator │ .*hooks\.opened\W.*127\.0\.0\.1:\d+", process.output())

    # Each process has metrics of its own.
    scraped = re.findall(r"metrics\.opened\W.*?(127\.0\.0\.1:\d+)", process.output())
    assert len(set(scraped)) == 3, process.output()
    pages = await asyncio.gather(*map(scrape, scraped))
    assert sum("weft_sessions" in page.families for page in pages) == 1
    assert sum("weft_agent_slots" in page.families for page in pages) == 2

    process.signal(number)
    assert await process.wait(timeout_s=30) == 0, process.output()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert re.search(r"coordinator │ .*coordinator\.stopped", process.output())


async def test_agents_have_the_ports_after_the_coordinators() -> None:
    made = up_command._Up(["a:b"], 2, [], (), "127.0.0.1:9464")
    assert [made._scraped(number)[1] for number in range(3)] == [f"127.0.0.1:946{last}" for last in (4, 5, 6)]
    assert up_command._Up(["a:b"], 2, [], (), None)._scraped(1) == []


async def test_up_with_an_agent_that_is_none(tmp_path: Path, started: list[Process]) -> None:
    process = up(started, tmp_path, "nowhere.at_all:agent", "-n", "1")
    assert await process.wait(timeout_s=40) == 2
    assert "there is no module 'nowhere'" in process.output()
    assert "agent-1 has exited with status 2" in process.output()
    assert "Traceback" not in process.output()


@pytest.mark.slow
async def test_up_with_a_service_alone(tmp_path: Path, started: list[Process]) -> None:
    process = up(started, tmp_path, "--with", "hardware", "-n", "1")
    target = await serving(process)
    assert "corpus.v1" not in process.output()
    done = await weft("call", "HardwareService/GetSnapshot", '{"measure_over": "0.1s"}', target=target)
    assert done.status == 0, done.err
    assert json.loads(done.out)["snapshot"]["host"]["agentId"] == "agent-1"


@pytest.mark.slow
async def test_up_hosts_the_example_by_itself(tmp_path: Path, started: list[Process]) -> None:
    process = up(started, tmp_path, "--agents", "1")
    target = await serving(process)
    assert "weft call corpus.v1.CorpusService/Analyze" in process.output()
    # A coordinator that dies takes the rest down, in order.
    coordinator = next(
        child for child in psutil.Process(process.pid).children() if "coordinator" in child.cmdline()
    )
    coordinator.kill()
    assert await process.wait(timeout_s=30) == 1
    assert "coordinator has exited with status -9" in process.output()
    done = await weft("agents", "list", target=target)
    assert done.status == 1


@pytest.mark.slow
async def test_an_agent_that_asks_for_it_is_started_again(tmp_path: Path, started: list[Process]) -> None:
    settings = {"WEFT_AGENT_RESTART_AT_OVERRUN_SLOTS": "1"}
    flags = ["--listen", "127.0.0.1:0", "--store", str(tmp_path / "weft.db"), "-n", "1"]
    process = Process.weft("up", "up", PROBE_AGENT, *flags, log=tmp_path / "up.log", env=settings)
    started.append(process)
    target = await serving(process)
    method, ledger = "probe.v1.ProbeService/CallSync", tmp_path / "ledger"
    request = {"sleepS": 60, "ignoreCancel": True, "ledger": str(ledger), "text": "stuck"}
    done = await weft("submit", method, json.dumps(request), target=target)
    await until(ledger.exists, "it runs")
    await weft("tasks", "cancel", done.out.strip(), "--grace-s", "0.1", target=target)
    await until(lambda: "agent-1 is started again" in process.output(), "its agent is started again")
    assert (await weft("call", CALL, '{"text": "hi"}', target=target)).document["text"] == "hi"
    process.signal(signal.SIGTERM)
    assert await process.wait(timeout_s=30) == 0, process.output()
