"""Steps of handlers in processes of their own: the same as those of others, also when the process dies or only waits."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from tests.support import killed_at_start
from weft.agent import Agent, current_task
from weft.client import Method, RetryPolicy, TaskState
from weft.rpc.errors import Unavailable
from weft.testing import LocalMesh, mesh_of

# A process of an isolated handler takes a second or more to start on a busy machine.
pytestmark = pytest.mark.slow

SERVICE = "isolated.v1.Work"
RUN = Method.of(f"{SERVICE}/Run", struct_pb2.Struct, struct_pb2.Struct)
AGAIN = RetryPolicy(max_attempts=5, initial_backoff_s=0.0, retryable_codes=[grpc.StatusCode.UNAVAILABLE])


def made(**fields: str) -> struct_pb2.Struct:
    request = struct_pb2.Struct()
    request.update(fields)
    return request


def note(request: dict[str, Any], what: str) -> None:
    """Processes have no memory in common."""
    with Path(request["ledger"]).open("a") as file:
        file.write(f"{what}\n")


def run(request: dict[str, Any]) -> dict[str, Any]:
    task = current_task()
    note(request, "run")

    def reserve() -> int:
        note(request, "reserve")
        return 7

    steps = task.sync_steps
    number, begun = steps.step("number", reserve), steps.now()
    call = task.sync_mesh.channel().unary_unary(
        f"/{SERVICE}/Child", struct_pb2.Struct.SerializeToString, struct_pb2.Struct.FromString
    )
    paid = call(made(ledger=request["ledger"]))["paid"]
    if request["fails"] == "raise" and task.attempt == 1:
        raise Unavailable("not yet")
    if request["fails"] == "die" and task.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if request["fails"] == "wait":
        steps.sleep(1.1)
        word = steps.wait_signal("go")
    else:
        word = ""
    return {"number": number, "paid": paid, "word": word, "begun": begun.isoformat()}


def child(request: dict[str, Any]) -> dict[str, Any]:
    note(request, "child")
    return {"paid": 3}


@pytest.fixture
async def mesh() -> Any:
    async with mesh_of() as local:
        agent = Agent("worker", slots=2)
        agent.method(f"{SERVICE}/Child", isolate=True)(child)
        agent.method(f"{SERVICE}/Run", isolate=True, durable_children=True, retry=AGAIN)(run)
        await local.add(agent)
        yield local


@pytest.mark.parametrize("fails", ["raise", "die"])
async def test_another_process_goes_on_where_the_first_one_was(
    mesh: LocalMesh, tmp_path: Path, fails: str
) -> None:
    ledger = tmp_path / "ledger"
    handle = await mesh.tasks.submit(RUN, made(ledger=str(ledger), fails=fails))
    result = await handle.result()
    assert (result["number"], result["paid"]) == (7, 3)
    assert Counter(ledger.read_text().split()) == {"run": 2, "reserve": 1, "child": 1}


async def test_a_process_that_only_waits_ends(mesh: LocalMesh, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    handle = await mesh.tasks.submit(RUN, made(ledger=str(ledger), fails="wait"))
    async with asyncio.timeout(30):
        # First it sleeps, then it waits for the signal.
        while ledger.read_text().count("run") < 2 if ledger.exists() else True:
            await asyncio.sleep(0.05)
        while (await mesh.tasks.get(handle.id)).state is not TaskState.SCHEDULED:
            await asyncio.sleep(0.05)
    await mesh.tasks.signal(handle.id, "go", "on")
    result = await handle.result()
    assert (result["number"], result["paid"], result["word"]) == (7, 3, "on")
    assert Counter(ledger.read_text().split()) == {"run": 3, "reserve": 1, "child": 1}


async def test_a_process_that_is_killed_at_its_start_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_TEST_KILLED", str(tmp_path / "killed"))
    agent = Agent()
    agent.method(f"{SERVICE}/Number", isolate=True)(killed_at_start.number)
    numbered = Method.of(f"{SERVICE}/Number", struct_pb2.Struct, struct_pb2.Struct)
    async with mesh_of(agent) as mesh:
        answer = await (await mesh.tasks.submit(numbered, struct_pb2.Struct())).result()
    assert (tmp_path / "killed").exists()
    assert answer["pid"] != os.getpid()
