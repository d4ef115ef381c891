"""Programs and commands of the README and of docs/, run as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.mesh import MeshHarness
from tests.support.pages import PAGES, blocks, program, run, write_files
from tests.support.processes import ROOT, Process
from tests.support.redis_server import free_port, redis_binary
from weft.coordinator.store.redis.endpoint_resolver import EndpointResolver

SEVERAL = PAGES[ROOT / "docs" / "how-to" / "several-coordinators.md"]
DEFAULT_TARGET = "127.0.0.1:7700"
SHELL_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def block(first_line: str) -> str:
    """The fenced block that begins with this line. Where several pages have it, they have the same."""
    fences = (re.findall(r"```\w+\n(.*?)```", text, re.DOTALL) for text in PAGES.values())
    found = {text for fence in fences for text in fence if text.startswith(first_line + "\n")}
    assert len(found) == 1, f"{len(found)} different blocks begin with {first_line!r}"
    return str(found.pop())


def command(beginning: str) -> str:
    """The one command of all pages that begins like this."""
    text = "\n".join(PAGES.values())
    (found,) = set(re.findall(rf"^\$ ({re.escape(beginning)}.*)$", text, re.MULTILINE))
    return str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the pages' files, their messages generated."""
    found = tmp_path / "project"
    proto = found / "acme" / "v1" / "greeter.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text(block("// acme/v1/greeter.proto"))
    run(found, *command("python -m grpc_tools.protoc -I. --python_out=. --grpc").split()[1:])
    for name in ("worker.py", "hello.py", "call_sync.py", "call_aio.py", "call_direct.py"):
        (found / name).write_text(block(f"# {name}"))
    return found


async def test_the_programs(folder: Path, mesh: MeshHarness) -> None:
    await mesh.coordinator()
    for name in ("call_sync.py", "call_aio.py", "call_direct.py"):
        program = folder / name
        program.write_text(program.read_text().replace(DEFAULT_TARGET, mesh.target))
    for name in ("worker", "hello"):
        await mesh.agent(name, program=f"{name}:agent", env={"PYTHONPATH": str(folder)})
    await mesh.wait_serving("acme.v1.Greeter")
    await mesh.wait_serving("acme.v1.Shouter")
    assert run(folder, "call_sync.py") == "Hello Ada\n"
    first, second = run(folder, "call_aio.py").splitlines()
    assert first == "Hello Ada"
    assert second.endswith("Hello Grace")
    assert run(folder, "call_direct.py") == "Hello Ada\nHello Grace\n"
    shouted = run(
        folder,
        *("-m", "weft.cli.main", "call", "acme.v1.Shouter/Shout", '{"text": "ada"}', "--target", mesh.target),
    )
    assert '"ADA"' in shouted


# Names that the blocks of docs/client.md use and do not define.
CLIENT_NAMES = """
import asyncio
from acme.v1 import greeter_pb2, greeter_pb2_grpc
from weft.client import connect, methods

TARGET = {target!r}
greeter = methods(greeter_pb2_grpc.GreeterStub)
requests = [greeter_pb2.GreetRequest(name=name) for name in ("Ada", "Grace")]

async def submitted(mesh):
    return await mesh.tasks.submit(greeter.Greet, requests[0])
"""


async def test_the_blocks_of_the_client_guide(folder: Path, mesh: MeshHarness) -> None:
    found = write_files("docs/client.md", folder)
    await mesh.coordinator()
    for name in ("worker", "shop"):
        await mesh.agent(name, program=f"{name}:agent", env={"PYTHONPATH": str(folder)})
    for service in ("Greeter", "Shop"):
        await mesh.wait_serving(f"acme.v1.{service}")
    text = program(
        found, {"mesh": "mesh", "handle": "await submitted(mesh)"}, CLIENT_NAMES.format(target=mesh.target)
    )
    (folder / "blocks.py").write_text(text.replace(DEFAULT_TARGET, mesh.target))
    said = await asyncio.to_thread(run, folder, "blocks.py")
    assert said.count("ran ") == len(found)
    for line in ("{'text': 'A'}", "Hello Ada", "Hello Grace"):
        assert line in said


# The service that the tests of docs/how-to/test.md test.
TEST_PROTO = """
syntax = "proto3";
package acme.v1;
service Reminder { rpc Remind(RemindRequest) returns (RemindReply); }
message RemindRequest { string text = 1; }
message RemindReply { string text = 1; }
"""
TEST_NAMES = """
import grpc
import pytest
from acme.v1.greeter_pb2 import GreetReply, GreetRequest
from acme.v1.greeter_pb2_grpc import GreeterServicer, GreeterStub, add_GreeterServicer_to_server
from acme.v1.reminder_pb2 import RemindReply, RemindRequest
from acme.v1.reminder_pb2_grpc import ReminderServicer, ReminderStub, add_ReminderServicer_to_server
from weft.agent import Agent

class Greeter(GreeterServicer):
    def Greet(self, request, context):
        if not request.name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "whom?")
        return GreetReply(text=f"Hello {request.name}")

class Reminder(ReminderServicer):
    def Remind(self, request, context):
        return RemindReply(text=request.text)

agent = Agent()
agent.add_servicer(add_GreeterServicer_to_server, Greeter())
agent.add_servicer(add_ReminderServicer_to_server, Reminder())
"""


@pytest.mark.slow
def test_the_tests_of_the_guide_to_tests(folder: Path) -> None:
    (folder / "acme" / "v1" / "reminder.proto").write_text(TEST_PROTO)
    protoc = "-m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. acme/v1/reminder.proto"
    run(folder, *protoc.split())
    found = "\n".join(blocks("docs/how-to/test.md"))
    (folder / "test_page.py").write_text(f"{TEST_NAMES}\n{found}")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    said = run(
        folder, *["-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto", "test_page.py"]
    )
    assert f"{len(re.findall('def test_', found))} passed" in said


@pytest.mark.slow
async def test_a_killed_agent(folder: Path, mesh: MeshHarness) -> None:
    """Its tasks end with others."""
    await mesh.coordinator()
    await mesh.agent("other", program="worker:agent", env={"PYTHONPATH": str(folder)})
    await mesh.wait_serving("acme.v1.Greeter")
    text = re.sub(r"^\$ ", "", block("$ weft agent worker:agent --id victim & victim=$!"), flags=re.MULTILINE)
    env = {
        "PATH": SHELL_PATH,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "WEFT_TARGET": mesh.target,
    }
    session = f"cd {folder}\n{text}\n! kill -0 $victim"
    terminal = Process("terminal", ["bash", "-ec", session], log=folder / "terminal.log", env=env)
    try:
        assert await terminal.wait(timeout_s=60) == 0, terminal.output()
    finally:
        terminal.cleanup()
    assert "\n20000\n" in terminal.output()


@pytest.mark.slow
async def test_several_coordinators(folder: Path) -> None:
    """One of them is killed, and calls go on, whatever else the reader's shell has started before."""
    start = block("$ redis-server --port 6390 --appendonly yes &")
    calls = block("$ both=127.0.0.1:7710,127.0.0.1:7720")
    # People are slower than that.
    calls = calls.replace("weft agents list", "until weft agents list").replace(
        "list --target $both", "list --target $both | grep ACTIVE; do sleep 0.1; done"
    )
    text = re.sub(r"^\$ ", "", start + calls, flags=re.MULTILINE)
    text = text.replace("redis-server", f"{redis_binary()} --save ''", 1)
    ports: set[int] = set()
    while len(ports) < 3:
        ports.add(free_port())
    for usual, free in zip(("6390", "7710", "7720"), ports, strict=True):
        text = re.sub(rf"(?<=[: ]){usual}\b", str(free), text)
    env = {"PATH": SHELL_PATH, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    # Jobs 1 and 2 are others', as after the parts before.
    session = f"cd {folder}\nsleep 60 &\nsleep 60 &\n{text}\n! kill -0 $first && kill -0 %3 && kill -0 %5 && echo others go on\n"
    terminal = Process("terminal", ["bash", "-ec", session], log=folder / "terminal.log", env=env)
    try:
        assert await terminal.wait(timeout_s=40) == 0, terminal.output()
    finally:
        terminal.cleanup()
    assert terminal.output().count('"text": "Hello Ada"') == 2
    assert "others go on" in terminal.output()


def test_every_store_is_one() -> None:
    urls = re.findall(r"`((?:redis|rediss|unix)(?:\+\w+)?://[^`…]+)`", SEVERAL)
    assert len({url.partition(":")[0] for url in urls}) >= 4, urls
    schemes = re.findall(r"`(redis[s+a-z]*://)`", SEVERAL)
    for url in [*urls, *(f"{scheme}10.0.0.9:6379" for scheme in schemes)]:
        url = f"{url}/tasks" if "sentinel://" in url and not url.endswith("/tasks") else url
        EndpointResolver(url, tag="{weft}", timeout_s=1)


def test_the_servicer_has_ten_lines() -> None:
    lines = block("# worker.py").splitlines()
    assert len(lines) == 10
    assert sum("agent" in line.lower() for line in lines) == 3
