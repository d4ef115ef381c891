"""An agent with the repositories service in a process of its own: where its credentials are not, what a kill leaves, and callers without weft."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.support.git_server import PASSWORD, USER, GitServer
from tests.support.languages import Node, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, until
from tests.support.reflecting import find_grpcurl, grpcurl
from weft.services.repositories.v1 import repositories_pb2 as pb
from weft.services.repositories.v1 import repositories_pb2_grpc
from weft.v1 import coordinator_pb2 as api

SERVICE = "weft.services.repositories.v1.RepositoryService"
FILES = {"README.md": b"hello\n"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path_factory.mktemp("git")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosting(server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    folder = tmp_path_factory.mktemp("repositories")
    async with MeshHarness(folder) as harness:
        secret = folder / "secret"
        secret.write_text(f"{USER}:{PASSWORD}")
        secret.chmod(0o600)
        await harness.coordinator(reconnect_grace_s=1)
        harness.agent_env = {
            "WEFT_REPOSITORIES_FOLDER": str(folder / "workspaces"),
            "WEFT_REPOSITORIES_HOSTS": "",
            "WEFT_REPOSITORIES_PLAIN_HOSTS": server.host,
            "WEFT_REPOSITORIES_CREDENTIALS": f"bot=file:{secret}@{server.host}",
            "WEFT_AGENT_LOG_LEVEL": "debug",
        }
        await harness.agent("r1", program="", services="repositories")
        yield harness


def stub_of(hosting: MeshHarness) -> Any:
    return repositories_pb2_grpc.RepositoryServiceStub(hosting.channel())


def of_processes(file: str) -> dict[str, bytes]:
    found = {}
    for each in Path("/proc").glob(f"[0-9]*/{file}"):
        try:
            found[each.parent.name] = each.read_bytes()
        except OSError:
            continue
    return found


async def test_a_credential_is_nowhere(server: GitServer, hosting: MeshHarness) -> None:
    """In no argument and no variable of any process while git uses it, in no file of the workspace, no log, no task."""
    server.create("acme/private", FILES)
    server.private.add("acme/private")
    server.held, server.arrived = asyncio.Event(), asyncio.Event()
    request = pb.CloneRequest(workspace="private", url=server.url("acme/private"))
    call = stub_of(hosting).Clone(request, timeout=60)
    running = asyncio.ensure_future(_result(call))
    await asyncio.wait_for(server.arrived.wait(), 30)
    git = {
        pid
        for pid, words in of_processes("cmdline").items()
        if b"git\0ls-remote" in words or b"remote-http" in words
    }
    assert git
    assert [pid for pid, words in of_processes("cmdline").items() if PASSWORD.encode() in words] == []
    assert [pid for pid in git if PASSWORD.encode() in of_processes("environ").get(pid, b"")] == []
    server.held.set()
    server.held = None
    answer, task_id = await running
    assert any(each.startswith("Basic ") for each in server.authorizations)
    workspace = Path(answer.workspace.folder).parent
    await stub_of(hosting).Push(pb.PushRequest(workspace="private"), timeout=60)
    for file in [*workspace.rglob("*"), *hosting.folder.rglob("*.log"), *hosting.folder.glob("weft.db*")]:
        if file.is_file():
            assert PASSWORD.encode() not in file.read_bytes(), file
    assert server.host not in (workspace / "git" / "config").read_text()
    task = (
        await hosting.api().GetTask(api.GetTaskRequest(task_id=task_id, view="TASK_VIEW_FULL"), timeout=10)
    ).task
    assert PASSWORD.encode() not in task.SerializeToString()


async def _result(call: Any) -> tuple[Any, str]:
    answer = await call
    trailers = dict(await call.trailing_metadata())
    return answer, str(trailers["weft-task-id"])


async def test_grpcurl_finds_and_calls_it(hosting: MeshHarness) -> None:
    find_grpcurl()
    code, printed = await grpcurl(hosting.target, ["describe", f"{SERVICE}.Push"])
    assert code == 0, printed
    code, printed = await grpcurl(hosting.target, [f"{SERVICE}/ListWorkspaces"])
    assert code == 0, printed
    assert [each["name"] for each in json.loads(printed).get("workspaces", [])] == ["private"]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_calls_it_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    script = ROOT / "tests" / "support" / "any_call.js"
    places = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    words = [
        hosting.target,
        "weft/services/repositories/v1/repositories.proto",
        SERVICE,
        "GetStatus",
        '{"workspace": "none"}',
    ]
    refused = json.loads(
        await asyncio.to_thread(
            run, ["env", f"NODE_PATH={modules}", "node", str(script), *words, *places], ROOT
        )
    )
    assert refused["code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert "no workspace none" in refused["details"]


@pytest.mark.parametrize("method", ["Clone", "Push"])
async def test_a_kill_in_the_middle_leaves_no_half_and_the_next_attempt_ends_right(
    server: GitServer, hosting: MeshHarness, method: str
) -> None:
    name = f"acme/killed-{method.lower()}"
    server.create(name, FILES)
    stub = stub_of(hosting)
    clone = pb.CloneRequest(workspace=f"killed-{method.lower()}", url=server.url(name))
    if method == "Push":
        await stub.Clone(clone, timeout=60)
        files = [{"path": "new", "content": b"new"}]
        await stub.WriteFiles(pb.WriteFilesRequest(workspace=clone.workspace, files=files), timeout=60)
        await stub.Commit(pb.CommitRequest(workspace=clone.workspace, message="new"), timeout=60)
    server.held, server.arrived = asyncio.Event(), asyncio.Event()
    request = clone if method == "Clone" else pb.PushRequest(workspace=clone.workspace)
    running = asyncio.ensure_future(getattr(stub, method)(request, timeout=120))
    await asyncio.wait_for(server.arrived.wait(), 30)
    spaces = hosting.folder / "workspaces" / "default" / "spaces"
    assert (spaces / clone.workspace).exists() == (method == "Push")
    await hosting.agents["r1"].kill()
    own = f"GIT_DIR={hosting.folder}".encode()

    def no_git() -> bool:
        return not [each for each in of_processes("environ").values() if own in each]

    await until(no_git, "the processes of git have ended with the agent")
    server.held.set()
    server.held = None
    await hosting.agent("r1", program="", services="repositories")
    answer = await running
    assert answer.head == server.head(name)
    left = list((hosting.folder / "workspaces" / "default" / "making").iterdir())
    assert [each for each in left if each.name.startswith(f"{clone.workspace}~")] == []
    assert (await stub.Push(pb.PushRequest(workspace=clone.workspace), timeout=60)).up_to_date
