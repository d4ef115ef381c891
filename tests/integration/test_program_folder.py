"""A program's folder may have files of any name beside it, and the program may patch, print and log as it likes."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.processes import environment, until
from weft.client import connect

WORKER = """
from weft.agent import Agent
agent = Agent()
@agent.method("beside.v1.Beside/Async")
async def call_async(request: dict) -> dict: return request
@agent.method("beside.v1.Beside/Sync")
def call_sync(request: dict) -> dict: return request
@agent.method("beside.v1.Beside/Isolated", isolate=True)
def call_isolated(request: dict) -> dict: return request
"""
POISON = "raise RuntimeError('a file of the program folder was imported in place of ' + __name__)\n"


def _poison(folder: Path) -> None:
    """A file for each module that Python and the installed packages have, by its name."""
    names = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions()) | {"tests"}
    for name in names:
        if name.isidentifier() and name not in ("worker", "__main__", "sitecustomize", "usercustomize"):
            (folder / f"{name}.py").write_text(POISON)


def found_in(log: Path) -> set[str]:
    return {words for words in ("contract.accepted", "serving on") if words in log.read_text()}


@asynccontextmanager
async def started(folder: Path, *args: str, env: dict[str, str] | None = None) -> AsyncIterator[Any]:
    """A `weft` process that runs in the folder, as a shell starts it; its output is in the file "log"."""
    command = Path(sys.executable).with_name("weft")
    with (folder / "log").open("wb") as log:
        clean = {key: value for key, value in environment(env).items() if key != "PYTHONPATH"}
        process = await asyncio.create_subprocess_exec(
            str(command),
            *args,
            cwd=folder,
            env=clean,
            stdout=log,
            stderr=log,
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@pytest.mark.slow
async def test_files_named_like_every_module(tmp_path: Path) -> None:
    """`weft up`, with its coordinator and its agent, in a folder that has a file for each module that there is."""
    (tmp_path / "worker.py").write_text(WORKER)
    _poison(tmp_path)
    async with started(tmp_path, "up", "worker:agent", "-n", "1", "--listen", "127.0.0.1:0") as process:
        log = tmp_path / "log"
        await until(
            lambda: {"contract.accepted", "serving on"} <= found_in(log) or process.returncode is not None,
            "it serves",
            timeout_s=60,
        )
        text = log.read_text()
        assert "serving on" in text, text
        target = text.partition("serving on ")[2].partition(";")[0]
        async with connect(target) as mesh:
            for name in ("Async", "Sync", "Isolated"):
                handle = await mesh.tasks.submit(f"beside.v1.Beside/{name}", b"")
                assert await handle.result(timeout_s=30) == b"", log.read_text()
    assert "RuntimeError" not in log.read_text()


@pytest.mark.slow
async def test_an_agent_by_itself_with_such_files(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "worker.py").write_text(WORKER.partition('@agent.method("beside.v1.Beside/Isolated')[0])
    _poison(folder)
    async with started(folder, "agent", "worker:agent", "--target", mesh.target, "--id", "a1"):
        await mesh.wait_serving("beside.v1.Beside")
        async with connect(mesh.target) as client:
            handle = await client.tasks.submit("beside.v1.Beside/Async", b"")
            assert await handle.result(timeout_s=30) == b""


@pytest.mark.parametrize(
    ("files", "program", "says"),
    [
        ({"queue.py": WORKER}, "queue:agent", "queue is the name of a module that Python or weft needs"),
        (
            {"grpc/__init__.py": WORKER},
            "grpc:agent",
            "grpc is the name of a module that Python or weft needs",
        ),
        (
            # What these libraries show of themselves once they have patched.
            {
                "worker.py": "import gevent.monkey\n" + WORKER,
                "gevent/__init__.py": "",
                "gevent/monkey.py": "saved = {'threading': {'Thread': None}}",
            },
            "worker:agent",
            "gevent has replaced Python's threads and sockets",
        ),
        (
            {
                "worker.py": "import eventlet.patcher\n" + WORKER,
                "eventlet/__init__.py": "",
                "eventlet/patcher.py": "already_patched = {'socket': True}",
            },
            "worker:agent",
            "eventlet has replaced Python's threads and sockets",
        ),
    ],
    ids=["python's", "weft's", "gevent", "eventlet"],
)
async def test_what_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, files: dict[str, str], program: str, says: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = await weft("agent", program, cwd=tmp_path)
    assert done.status == 2
    assert says in done.err
    assert done.err.count("\n") == 1


NOISY = """
import logging, logging.config, sys
import structlog
print("printed at import")
print("and to stderr", file=sys.stderr)
sys.stdout.write("without an end")
def fails(*args, **named): raise KeyboardInterrupt("from a processor")
structlog.configure(processors=[fails])
class Handler(logging.Handler):
    emit = fails
logging.basicConfig(level=0, handlers=[Handler()], force=True)
logging.disable(logging.CRITICAL)
"""


@pytest.mark.slow
async def test_a_program_that_prints_and_sets_up_logging(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "worker.py").write_text(
        NOISY + WORKER.replace("return request", "raise ValueError('hunter2')", 1)
    )
    async with started(folder, "agent", "worker:agent", "--target", mesh.target, "--id", "a1") as process:
        await mesh.wait_serving("beside.v1.Beside")
        done = await weft("call", "beside.v1.Beside/Async", "{}", "--json", target=mesh.target)
        assert done.document["error"]["code"] == "UNKNOWN"
        done = await weft("call", "beside.v1.Beside/Sync", '{"a": 1}', "--json", target=mesh.target)
        assert done.document["response"] == {"a": 1}
        await mesh.restart_coordinator()
        await mesh.wait_serving("beside.v1.Beside")
        assert process.returncode is None
    lines = (folder / "log").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith('{"')]
    assert "session.opened" in events
    # What the program prints may stand before it, on the same line.
    assert any('"event": "handler.failed"' in line for line in lines)
