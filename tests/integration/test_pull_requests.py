"""Pull requests, reviews and comments, on a double of GitHub's API; and webhooks of GitHub that become events and tasks."""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.git_server import GitServer
from tests.support.github_api import TOKEN, GitHubDouble
from tests.support.processes import ROOT
from tests.support.refusal_reasons import refusal
from weft.agent import Agent
from weft.client import Method
from weft.services.repositories import RepositoriesSettings
from weft.services.repositories.github_calls import api_url, failure
from weft.services.repositories.github_json import comment_of, mark_of, pull_request_of, review_of
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.pull_request_service import PullRequestService
from weft.services.repositories.remote_urls import RemoteUrl
from weft.services.repositories.repository_service import RepositoryService
from weft.services.repositories.v1 import pull_requests_pb2 as pb
from weft.services.repositories.v1 import pull_requests_pb2_grpc, repositories_pb2, repositories_pb2_grpc
from weft.testing import mesh_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
SITE = {"url": "https://github.com/acme/site"}
SECRET = "a-secret-of-16-or-more"
TOPIC = "weft.services.repositories.v1.PullRequestChanged"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def github() -> AsyncIterator[GitHubDouble]:
    async with GitHubDouble() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path_factory.mktemp("git")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(
    github: GitHubDouble, server: GitServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    os.environ["TEST_GITHUB_TOKEN"] = TOKEN
    settings = RepositoriesSettings(
        folder=str(tmp_path_factory.mktemp("workspaces")),
        plain_hosts=(server.host,),
        credentials={"bot": "env:TEST_GITHUB_TOKEN@github.com/acme/site"},
        github_api={"github.com": github.url},
    )
    agent = Agent("a1")
    agent.add_servicer(
        repositories_pb2_grpc.add_RepositoryServiceServicer_to_server, RepositoryService(agent, settings)
    )
    agent.add_servicer(
        pull_requests_pb2_grpc.add_PullRequestServiceServicer_to_server, PullRequestService(settings)
    )
    async with mesh_of(agent, hooks="127.0.0.1:0") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(mesh: Any) -> Any:
    return pull_requests_pb2_grpc.PullRequestServiceStub(mesh.channel())


async def call(stub: Any, method: str, **fields: Any) -> Any:
    request = getattr(pb, f"{method}Request")(repository=SITE, **fields)
    return await getattr(stub, method)(request, timeout=60)


async def no(stub: Any, method: str, **fields: Any) -> tuple[str, str]:
    """The refusal of a call."""
    return await refusal(call(stub, method, **fields))


async def open_one(stub: Any, branch: str, **fields: Any) -> Any:
    return await call(
        stub, "OpenPullRequest", head_branch=branch, base_branch="main", title=f"Fix {branch}", **fields
    )


@pytest.mark.slow
async def test_a_pull_request_is_opened_once_and_changed(github: GitHubDouble, stub: Any) -> None:
    made = await open_one(stub, "fix-1", body="text", draft=True)
    pull = made.pull_request
    assert (made.existed, pull.title, pull.body, pull.head_branch, pull.base_branch) == (
        *(False, "Fix fix-1", "text"),
        *("fix-1", "main"),
    )
    assert (pull.draft, pull.author, pull.state) == (True, "bot", pb.PULL_REQUEST_STATE_OPEN)
    assert pull.created_at.seconds
    again = await open_one(stub, "fix-1")
    assert (again.existed, again.pull_request.number) == (True, pull.number)
    # It was opened, and its list does not show it yet.
    github.hides_open = True
    raced = await open_one(stub, "fix-1")
    assert (raced.existed, raced.pull_request.number) == (True, pull.number)
    assert len(github.pulls) == 1
    fork = await open_one(stub, "fix-1", head_owner="ada")
    assert (fork.existed, github.pulls[fork.pull_request.number]["head"]["label"]) == (False, "ada:fix-1")

    changed = await call(
        stub, "UpdatePullRequest", number=pull.number, title="Other", state=pb.PULL_REQUEST_STATE_CLOSED
    )
    assert (changed.pull_request.title, changed.pull_request.state) == ("Other", pb.PULL_REQUEST_STATE_CLOSED)
    assert changed.pull_request.body == "text"
    assert (await call(stub, "GetPullRequest", number=pull.number)).pull_request.title == "Other"
    listed = await call(stub, "ListPullRequests", head_branch="fix-1", all=True)
    assert [each.number for each in listed.pull_requests] == [pull.number]
    assert not listed.pull_requests[0].body
    assert not (await call(stub, "ListPullRequests", head_branch="fix-1")).pull_requests


async def test_a_review_and_a_comment_are_written_once(github: GitHubDouble, stub: Any) -> None:
    number = (await open_one(stub, "fix-2")).pull_request.number
    review = {
        "verdict": pb.VERDICT_REQUEST_CHANGES,
        "body": "no",
        "comments": [{"path": "a.py", "line": 3, "body": "why?"}],
    }
    first = await call(stub, "ReviewPullRequest", number=number, key="r1", **review)
    again = await call(stub, "ReviewPullRequest", number=number, key="r1", **review)
    assert (first.existed, again.existed, again.review.id) == (False, True, first.review.id)
    assert first.review.verdict == pb.VERDICT_REQUEST_CHANGES
    assert github.reviews[number][0]["_comments"] == [
        {"path": "a.py", "line": 3, "side": "RIGHT", "body": "why?"}
    ]
    # The first attempt has written it, and its answer was lost: the next one finds it, by the key or by the task.
    answers = []
    for key in ("c1", ""):
        github.lost = 1
        answers.append(await call(stub, "AddComment", number=number, body="hello", key=key))
    answers.append(await call(stub, "AddComment", number=number, body="hello", key="c1"))
    answers.append(await call(stub, "AddComment", number=number, body="hello"))
    assert [each.existed for each in answers] == [True, True, True, False]
    assert len(github.comments[number]) == 3
    assert answers[0].comment.id == answers[2].comment.id != answers[1].comment.id
    assert (
        (await call(stub, "ListComments", number=number)).comments[0].body.startswith("hello\n\n<!-- weft:")
    )
    assert [each.author for each in (await call(stub, "ListReviews", number=number)).reviews] == ["bot"]
    github.comments[number] = [{"id": 1, "body": None}] * 250 + github.comments[number]
    assert (await call(stub, "AddComment", number=number, body="hello", key="c1")).existed
    assert (await call(stub, "ListComments", number=number)).more


async def test_what_the_api_refuses_is_told(
    github: GitHubDouble, stub: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert (await no(stub, "GetPullRequest", number=999))[0] == "PULL_REQUEST_NOT_FOUND"
    reason, message = await no(
        stub, "OpenPullRequest", head_branch="x", base_branch="none", title="secret title", body="secret body"
    )
    assert (reason, "Validation Failed; invalid" in message) == ("API_REFUSED", True)
    for fault, wanted in [
        ((403, {}, {"message": f"no: {TOKEN}"}), "REMOTE_REFUSED"),
        ((301, {"Location": "http://127.0.0.1:1/"}, {}), "REMOTE_REFUSED"),
    ]:
        github.faults = [fault]
        reason, message = await no(stub, "GetPullRequest", number=1)
        assert reason == wanted
        assert TOKEN not in message
    # What may be different later is tried again, after the time that is asked for.
    number = next(iter(github.pulls))
    github.faults = [
        (503, {}, {}),
        (403, {"x-ratelimit-remaining": "0", "retry-after": "1"}, {"message": "secondary rate limit"}),
    ]
    assert (await call(stub, "GetPullRequest", number=number)).pull_request.number == number
    assert (await no(stub, "OpenPullRequest", head_branch="--x", base_branch="main", title="x"))[
        0
    ] == "NAME_REFUSED"
    assert TOKEN not in caplog.text
    assert "secret title" not in caplog.text
    assert "secret body" not in caplog.text


async def test_any_json_is_taken() -> None:
    for told in (
        None,
        [],
        1,
        "x",
        {"head": [], "user": 3, "number": -1, "created_at": "never", "body": 5, "id": True},
    ):
        assert pull_request_of(told).number == review_of(told).id == comment_of(told).id == 0
    assert len(pull_request_of({"body": "\u00e9" * 200_000}).body.encode()) <= 64 << 10
    assert mark_of("a") != mark_of("b")
    assert "-->" not in mark_of("--> x")[:-3]
    assert failure(429, "", "").reason == "REMOTE_UNAVAILABLE"
    assert api_url(RemoteUrl("https", "git.example.com", "a/b"), {}) == "https://git.example.com/api/v3"
    assert isinstance(failure(404, "", "REPOSITORY_NOT_FOUND"), RepositoryError)


def pull_request_hook(action: str) -> bytes:
    """As GitHub sends it, with the parts that the template has."""
    pull = {
        "number": 7,
        "title": "Fix it",
        "html_url": "https://github.com/acme/site/pull/7",
        "head": {"ref": "fix", "sha": "b" * 40},
        "base": {"ref": "main"},
        "merged": False,
    }
    body = {
        "action": action,
        "pull_request": pull,
        "repository": {"full_name": "acme/site"},
        "sender": {"login": "ada"},
    }
    return json.dumps(body).encode()


async def deliver(mesh: Any, path: str, body: bytes) -> dict[str, Any]:
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex(),
    }
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://{mesh._coordinator.hooks_address}{path}", data=body, headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        return await response.json()


async def test_a_webhook_becomes_an_event(mesh: Any) -> None:
    # The template that the guide has.
    guide = (ROOT / "docs" / "how-to" / "repositories.md").read_text()
    template = guide.partition("<!-- template -->")[2].partition("```json\n")[2].partition("```")[0]
    hook = await mesh.hooks.add("pulls", "github", event=TOPIC, template=json.loads(template), secret=SECRET)
    assert not (await deliver(mesh, hook.hook.path, pull_request_hook("opened")))["existed"]
    async with contextlib.aclosing(mesh.events.subscribe(pb.PullRequestChanged, after=0)) as events:
        found = (await anext(events)).message
    assert found == pb.PullRequestChanged(
        repository="acme/site",
        number=7,
        action="opened",
        title="Fix it",
        head_branch="fix",
        head="b" * 40,
        base_branch="main",
        url="https://github.com/acme/site/pull/7",
        sender="ada",
    )


async def test_a_push_at_github_updates_a_workspace(mesh: Any, server: GitServer) -> None:
    server.create("acme/mirror", {"a": b"1"})
    repositories = repositories_pb2_grpc.RepositoryServiceStub(mesh.channel())
    clone = repositories_pb2.CloneRequest(workspace="mirror", url=server.url("acme/mirror"))
    made = await repositories.Clone(clone, timeout=60)
    method = "weft.services.repositories.v1.RepositoryService/UpdateWorkspace"
    hook = await mesh.hooks.add(
        "pushes", "github", method=method, template={"workspace": "${body.repository.name}"}, secret=SECRET
    )
    newer = server.commit("acme/mirror", {"a": b"2"})
    body = json.dumps({"ref": "refs/heads/main", "repository": {"name": "mirror"}}).encode()
    task = (await deliver(mesh, hook.hook.path, body))["task_id"]
    update = Method.of(
        method, repositories_pb2.UpdateWorkspaceRequest, repositories_pb2.UpdateWorkspaceResponse
    )
    answer = await mesh.tasks.handle(update, task).result(timeout_s=60)
    assert (answer.old_head, answer.head) == (made.head, newer)
    assert (Path(made.workspace.folder) / "a").read_bytes() == b"2"
