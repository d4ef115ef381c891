"""The repositories service on a real git server: from a clone to a push, and what hostile repositories and files can do: nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.git_server import PASSWORD, USER, GitServer, git
from tests.support.refusal_reasons import refusal
from weft.agent import Agent
from weft.services.repositories import RepositoriesSettings
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.repository_service import RepositoryService
from weft.services.repositories.v1 import repositories_pb2 as pb
from weft.services.repositories.v1 import repositories_pb2_grpc
from weft.services.repositories.workspaces import Workspaces
from weft.testing import mesh_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
FILES = {"README.md": b"hello\n", "src/a.py": b"a = 1\n"}


def settings_for(server: GitServer, folder: Path, **fields: Any) -> RepositoriesSettings:
    os.environ["TEST_BOT"] = f"{USER}:{PASSWORD}"
    given = {
        "folder": str(folder),
        "hosts": (),
        "plain_hosts": (server.host,),
        "timeout_s": 20.0,
        "network_timeout_s": 60.0,
    }
    return RepositoriesSettings(
        credentials={"bot": f"env:TEST_BOT@{server.host}/acme/*"}, **{**given, **fields}
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path_factory.mktemp("git")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspaces")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(server: GitServer, folder: Path) -> AsyncIterator[Any]:
    agent = Agent("a1")
    servicer = RepositoryService(agent, settings_for(server, folder))
    agent.add_servicer(repositories_pb2_grpc.add_RepositoryServiceServicer_to_server, servicer)
    async with mesh_of(agent) as mesh:
        yield repositories_pb2_grpc.RepositoryServiceStub(mesh.channel())


async def call(stub: Any, method: str, **fields: Any) -> Any:
    return await getattr(stub, method)(getattr(pb, f"{method}Request")(**fields), timeout=60)


async def refused(stub: Any, method: str, **fields: Any) -> tuple[str, str]:
    return await refusal(call(stub, method, **fields))


def workspaces(server: GitServer, folder: Path, **fields: Any) -> Workspaces:
    """Without a mesh, with settings of its own."""
    return Workspaces(settings_for(server, folder, **fields), Agent("a2"))


async def test_from_a_clone_to_a_push(server: GitServer, stub: Any) -> None:
    server.create("acme/site", FILES)
    server.private.add("acme/site")
    first = server.head("acme/site")
    made = await call(stub, "Clone", workspace="site", url=server.url("acme/site"))
    assert (made.existed, made.head, made.workspace.credential) == (False, first, "bot")
    again = await call(stub, "Clone", workspace="site", url=server.url("acme/site").removesuffix(".git"))
    assert (again.existed, again.head) == (True, first)
    assert (await refused(stub, "Clone", workspace="site", url=server.url("acme/other")))[
        0
    ] == "WORKSPACE_EXISTS"

    await call(stub, "SwitchBranch", workspace="site", branch="fix", create=True)
    writes = [
        {"path": "src/new/b.py", "content": b"b = 2\n", "executable": True},
        {"path": "README.md", "content": b"changed\n"},
        {"path": "src/a.py", "delete": True},
    ]
    assert (await call(stub, "WriteFiles", workspace="site", files=writes)).written == 3
    assert (await call(stub, "WriteFiles", workspace="site", files=writes)).written == 0
    status = await call(stub, "GetStatus", workspace="site")
    assert (status.branch, status.head, status.has_remote) == ("fix", first, False)
    assert {each.path: each.change for each in status.files} == {
        "README.md": pb.FILE_CHANGE_MODIFIED,
        "src/a.py": pb.FILE_CHANGE_DELETED,
        "src/new/b.py": pb.FILE_CHANGE_ADDED,
    }
    diff = (await call(stub, "GetDiff", workspace="site")).diff
    assert "+changed" in diff
    assert "new file mode 100755" in diff
    assert (await call(stub, "GetDiff", workspace="site", max_bytes=20)).truncated
    assert "src/a.py" not in (await call(stub, "GetDiff", workspace="site", paths=["README.md"])).diff
    assert (await call(stub, "ListFiles", workspace="site", after="README.md")).paths == ["src/new/b.py"]

    commit = await call(
        stub,
        "Commit",
        workspace="site",
        message="Fix it\n\nbody",
        key="k1",
        expected_head=first,
        author={"name": "Ada", "email": "ada@x"},
    )
    repeat = await call(
        stub, "Commit", workspace="site", message="Fix it\n\nbody", key="k1", expected_head=first
    )
    assert (commit.existed, repeat.existed, repeat.commit) == (False, True, commit.commit)
    assert (await refused(stub, "Commit", workspace="site", message="x"))[0] == "NOTHING_TO_COMMIT"
    assert (await refused(stub, "Commit", workspace="site", message="x", expected_head=first))[
        0
    ] == "HEAD_MOVED"
    commits = (await call(stub, "ListCommits", workspace="site", without="main")).commits
    assert [(each.id, each.message, each.author.name) for each in commits] == [
        (commit.commit, "Fix it\n\nbody", "Ada")
    ]

    pushed = await call(stub, "Push", workspace="site")
    assert (pushed.branch, pushed.head, pushed.up_to_date) == ("fix", commit.commit, False)
    assert server.head("acme/site", "fix") == commit.commit
    assert (await call(stub, "Push", workspace="site")).up_to_date
    branches = {each.name: each for each in (await call(stub, "ListBranches", workspace="site")).branches}
    assert set(branches) == {"fix", "main", "origin/fix", "origin/main"}
    assert branches["fix"].checked_out

    # Somebody else has pushed meanwhile.
    theirs = server.commit("acme/site", {"z": b"z"}, branch="fix")
    await call(stub, "WriteFiles", workspace="site", files=[{"path": "own", "content": b"x"}])
    await call(stub, "Commit", workspace="site", message="own")
    assert (await refused(stub, "Push", workspace="site"))[0] == "NOT_FAST_FORWARD"
    assert (await refused(stub, "UpdateWorkspace", workspace="site"))[0] == "NOT_FAST_FORWARD"
    assert (await refused(stub, "Push", workspace="site", replace=first))[0] == "NOT_FAST_FORWARD"
    assert server.head("acme/site", "fix") == theirs
    assert not (await call(stub, "Push", workspace="site", replace=theirs)).up_to_date
    await call(stub, "DeleteWorkspace", workspace="site")
    assert not (await call(stub, "DeleteWorkspace", workspace="site")).existed
    assert (await refused(stub, "GetStatus", workspace="site"))[0] == "WORKSPACE_NOT_FOUND"


@pytest.mark.slow
async def test_a_pull_keeps_what_is_changed(server: GitServer, stub: Any) -> None:
    server.create("acme/pull", FILES)
    await call(stub, "Clone", workspace="pull", url=server.url("acme/pull"), single_branch=True)
    newer = server.commit("acme/pull", {"README.md": b"theirs\n"})
    await call(stub, "WriteFiles", workspace="pull", files=[{"path": "README.md", "content": b"ours\n"}])
    assert (await refused(stub, "UpdateWorkspace", workspace="pull"))[0] == "LOCAL_CHANGES"
    assert (await call(stub, "ReadFile", workspace="pull", path="README.md")).content == b"ours\n"
    status = await call(stub, "GetStatus", workspace="pull")
    assert (status.ahead, status.behind) == (0, 1)
    assert (await call(stub, "UpdateWorkspace", workspace="pull", discard_changes=True)).head == newer
    assert (await call(stub, "ReadFile", workspace="pull", path="README.md")).content == b"theirs\n"
    assert (await call(stub, "UpdateWorkspace", workspace="pull")).head == newer
    await call(stub, "SwitchBranch", workspace="pull", branch="own", create=True, start=newer)
    assert (await refused(stub, "UpdateWorkspace", workspace="pull"))[0] == "BRANCH_NOT_FOUND"
    assert (await call(stub, "UpdateWorkspace", workspace="pull", fetch_only=True)).head == newer
    assert (await refused(stub, "SwitchBranch", workspace="pull", branch="none"))[0] == "BRANCH_NOT_FOUND"
    assert (await refused(stub, "GetDiff", workspace="pull", to="none"))[0] == "REVISION_NOT_FOUND"


async def test_an_empty_repository_gets_its_first_commit(server: GitServer, stub: Any) -> None:
    server.create("acme/empty")
    made = await call(stub, "Clone", workspace="empty", url=server.url("acme/empty"))
    assert not made.head
    assert (await call(stub, "GetStatus", workspace="empty")).branch == "main"
    await call(stub, "WriteFiles", workspace="empty", files=[{"path": "a", "content": b"a"}])
    first = await call(stub, "Commit", workspace="empty", message="first")
    assert (await call(stub, "Push", workspace="empty")).head == first.commit == server.head("acme/empty")


async def test_files_are_read_in_parts_and_written_as_expected(server: GitServer, stub: Any) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    server.create("acme/files", {"a": b"0123456789", "big.bin": pointer})
    await call(stub, "Clone", workspace="files", url=server.url("acme/files"), depth=1)
    part = await call(stub, "ReadFile", workspace="files", path="a", offset=2, max_bytes=3)
    assert (part.content, part.size_bytes, part.truncated, part.sha256) == (b"234", 10, True, "")
    assert not (await call(stub, "ReadFile", workspace="files", path="a", offset=2**63)).content
    assert (await call(stub, "ReadFile", workspace="files", path="big.bin")).lfs_pointer
    whole = await call(stub, "ReadFile", workspace="files", path="a")
    write = {"path": "a", "content": b"new", "expected_sha256": whole.sha256}
    assert (await call(stub, "WriteFiles", workspace="files", files=[write])).written == 1
    assert (await call(stub, "WriteFiles", workspace="files", files=[write])).written == 0
    wrong = {"path": "a", "content": b"newer", "expected_sha256": whole.sha256}
    assert (await refused(stub, "WriteFiles", workspace="files", files=[wrong]))[0] == "CONTENT_CHANGED"
    assert (await refused(stub, "ReadFile", workspace="files", path="none"))[0] == "FILE_NOT_FOUND"
    for path in ("../x", "/etc/passwd", ".git/config", "a/../../b"):
        assert (await refused(stub, "ReadFile", workspace="files", path=path))[0] == "PATH_REFUSED"
        assert (await refused(stub, "WriteFiles", workspace="files", files=[{"path": path}]))[
            0
        ] == "PATH_REFUSED"
        assert (await refused(stub, "Commit", workspace="files", message="x", paths=[path]))[
            0
        ] == "PATH_REFUSED"


@pytest.mark.slow
async def test_a_hostile_repository_runs_nothing_and_leads_nowhere(
    server: GitServer, stub: Any, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    run = f"touch {mark}"
    server.create(
        "acme/hostile",
        {
            ".gitattributes": b"* filter=evil diff=evil merge=evil\n*.lfs filter=lfs\n",
            ".gitconfig": f'[filter "evil"]\n smudge = {run}\n clean = {run}\n[core]\n fsmonitor = {run}\n'.encode(),
            ".gitmodules": b'[submodule "x"]\n path = x\n url = https://evil.example/x\n',
            ".githooks/post-checkout": f"#!/bin/sh\n{run}\n".encode(),
            "link@": b"/etc/passwd",
            "up@": b"..",
            "--upload-pack=x": b"x",
            "-rf": b"x",
            "a.lfs": b"x",
        },
    )
    made = await call(stub, "Clone", workspace="hostile", url=server.url("acme/hostile"))
    tree = Path(made.workspace.folder)
    assert (await call(stub, "ReadFile", workspace="hostile", path="link")).content == b"/etc/passwd"
    assert not [each for each in tree.rglob("*") if each.is_symlink()]
    # Links that a program in the workspace has made.
    (tree / "out").symlink_to("/etc")
    (tree / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(tree / "pipe")
    for path in ("out/passwd", "passwd", "out", "pipe"):
        assert (await refused(stub, "ReadFile", workspace="hostile", path=path))[0] == "NOT_A_FILE"
    for path in ("out/x", "out/deep/x", "passwd", "pipe"):
        assert (
            await refused(stub, "WriteFiles", workspace="hostile", files=[{"path": path, "content": b"x"}])
        )[0] == "NOT_A_FILE"
    # A repository in the workspace, whose configuration would run something.
    inner = tree / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    git(inner, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--allow-empty", "-m", "x")
    git(inner, "config", "core.fsmonitor", run)
    (tree / "pipe").unlink()
    await call(stub, "GetStatus", workspace="hostile")
    await call(stub, "GetDiff", workspace="hostile")
    await call(stub, "Commit", workspace="hostile", message="all")
    await call(stub, "GetStatus", workspace="hostile")
    await call(stub, "SwitchBranch", workspace="hostile", branch="other", create=True)
    await call(stub, "Push", workspace="hostile")
    await call(stub, "UpdateWorkspace", workspace="hostile", discard_changes=True)
    assert not mark.exists()
    assert stat.S_IMODE(tree.parent.stat().st_mode) == 0o700


async def test_what_git_itself_finds_hostile_is_refused(server: GitServer, stub: Any) -> None:
    modules = b'[submodule "x"]\n path = x\n url = --upload-pack=touch\n update = !touch\n'
    server.create("acme/modules", {".gitmodules": modules})
    assert (await refused(stub, "Clone", workspace="modules", url=server.url("acme/modules")))[
        0
    ] == "GIT_FAILED"
    path = server.create("acme/tree", FILES)
    blob = git(path, "hash-object", "-w", "--stdin", given=b"[core]\n")
    inner = git(path, "mktree", given=f"100644 blob {blob}\tconfig\n".encode())
    tree = git(path, "mktree", given=f"040000 tree {inner}\t.git\n".encode())
    commit = git(path, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", tree, "-m", "x")
    git(path, "update-ref", "refs/heads/main", commit)
    assert (await refused(stub, "Clone", workspace="tree", url=server.url("acme/tree")))[0] == "GIT_FAILED"
    assert "tree" not in [each.name for each in (await call(stub, "ListWorkspaces")).workspaces]


async def test_what_is_asked_for_wrongly_is_refused_before_git(server: GitServer, stub: Any) -> None:
    before = len(server.requests)
    for url in (
        "ext::sh -c x",
        "file:///etc",
        "--upload-pack=x",
        f"http://a:b@{server.host}/x",
        "https://evil.com/x",
    ):
        assert (await refused(stub, "Clone", workspace="w", url=url))[0] in {"NAME_REFUSED", "REMOTE_REFUSED"}
    for name in ("../x", "A", "", "-x", "a" * 65, "x~1"):
        reason, message = await refused(stub, "Clone", workspace=name, url=server.url("acme/site"))
        assert "workspace: does not match" in message, reason
    assert (await refused(stub, "Clone", workspace="w", url=server.url("acme/site"), branch="--x"))[
        0
    ] == "NAME_REFUSED"
    assert (await refused(stub, "Clone", workspace="w", url=server.url("others/site"), credential="bot"))[
        0
    ] == "REMOTE_REFUSED"
    assert (await refused(stub, "Clone", workspace="w", url=server.url("acme/site"), credential="x"))[
        0
    ] == "CREDENTIAL_MISSING"
    assert len(server.requests) == before


async def test_what_a_remote_answers_is_told(server: GitServer, stub: Any) -> None:
    url = server.url("others/secret")
    server.create("others/secret", FILES)
    server.private.add("others/secret")
    assert (await refused(stub, "Clone", workspace="w", url=url))[0] == "REMOTE_REFUSED"
    assert PASSWORD not in str(server.authorizations[-3:])
    reason, _ = await refused(stub, "Clone", workspace="w", url=server.url("acme/none"))
    assert reason == "REPOSITORY_NOT_FOUND"
    assert (await refused(stub, "Clone", workspace="w", url=server.url("acme/files"), branch="none"))[
        0
    ] == "BRANCH_NOT_FOUND"
    server.status, server.headers = 302, {"Location": "http://127.0.0.1:1/elsewhere"}
    assert (await refused(stub, "Clone", workspace="w", url=server.url("acme/site")))[0] == "REMOTE_REFUSED"
    server.status, server.headers = 0, {}
    assert (await call(stub, "ListWorkspaces")).workspaces is not None


@pytest.mark.slow
async def test_bounds(server: GitServer, tmp_path: Path) -> None:
    """Of a folder of its own: in a pack, and outside of it, of files, of workspaces, of time."""
    server.create("acme/random", {"x": os.urandom(400_000)})
    server.create("acme/zeros", {"x": bytes(1_000_000)})
    server.create("acme/many", {f"f{number}": b"x" for number in range(30)})
    server.create("acme/small", FILES)
    bounded = workspaces(
        server, tmp_path, max_repository_bytes=1 << 17, max_files=20, max_workspaces=1, max_git=2
    )

    async def reason(name: str, workspace: str = "w") -> str:
        with pytest.raises(RepositoryError) as error:
            await bounded.clone(pb.CloneRequest(workspace=workspace, url=server.url(name)))
        return f"{error.value.reason}: {error.value.message}"

    for name in ("acme/random", "acme/zeros", "acme/many"):
        assert (await reason(name)).startswith("TOO_LARGE: ")
    assert not list(tmp_path.glob("default/*/*~*"))
    await bounded.clone(pb.CloneRequest(workspace="one", url=server.url("acme/small")))
    assert (await reason("acme/small", "two")).startswith("TOO_MANY_WORKSPACES: ")

    slow = workspaces(server, tmp_path / "slow", network_timeout_s=1)
    server.held = asyncio.Event()
    with pytest.raises(RepositoryError) as error:
        await slow.clone(pb.CloneRequest(workspace="w", url=server.url("acme/small")))
    server.held.set()
    server.held = None
    assert error.value.reason == "GIT_TOO_SLOW"
    assert not list((tmp_path / "slow" / "default").glob("*/w*~*"))


async def test_a_workspace_is_one_callers_at_a_time_and_is_forgotten(
    server: GitServer, tmp_path: Path
) -> None:
    server.create("acme/shared", FILES)
    first = workspaces(server, tmp_path, timeout_s=1.0, idle_ttl_s=10.0)
    other = workspaces(server, tmp_path, timeout_s=1.0, idle_ttl_s=10.0)
    await first.clone(pb.CloneRequest(workspace="w", url=server.url("acme/shared")))
    async with first.held("w", shared=True), other.held("w", shared=True):
        with pytest.raises(RepositoryError) as error:
            async with other.held("w"):
                pass
        assert error.value.reason == "WORKSPACE_BUSY"
        assert not other._folders.sweep(0, 2e9 * 2)
    # What killed processes of git have left is removed.
    async with first.held("w") as held:
        (held.space.git / "index.lock").touch()
        (held.space.git / "refs" / "heads" / "main.lock").touch()
    async with other.held("w") as held:
        await held.git.local("add", "--all", ".")
        left = held.space.path.parent.parent / "making" / "dead~0123456789abcdef"
    left.mkdir()
    (left / "part").touch()
    assert other._folders.sweep(10.0, held.space.used_at() + 5) == []
    assert not left.exists()
    assert other._folders.sweep(10.0, held.space.used_at() + 11) == ["w"]
    with pytest.raises(RepositoryError, match="no workspace w"):
        async with first.held("w"):
            pass
    assert list((tmp_path / "default" / "locks").iterdir()) == []


async def test_a_cancelled_call_ends_git(server: GitServer, tmp_path: Path) -> None:
    server.create("acme/held", FILES)
    own = workspaces(server, tmp_path)
    server.held, server.arrived = asyncio.Event(), asyncio.Event()
    running = asyncio.ensure_future(own.clone(pb.CloneRequest(workspace="w", url=server.url("acme/held"))))
    await asyncio.wait_for(server.arrived.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    server.held.set()
    server.held = None
    mine = [each for each in Path("/proc").glob("[0-9]*/environ") if _names(each, tmp_path)]
    assert mine == []
    assert (await own.clone(pb.CloneRequest(workspace="w", url=server.url("acme/held")))).head


def _names(environ: Path, folder: Path) -> bool:
    try:
        return os.fsencode(f"GIT_DIR={folder}") in environ.read_bytes()
    except OSError:
        return False
