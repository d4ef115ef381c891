"""A server that follows the published REST API of GitHub, as far as the repositories service uses it, without GitHub behind it: pull requests, reviews and comments
are rows. It wants a token, and has faults on demand."""

from __future__ import annotations

import itertools
import json
from typing import Any, Self

from aiohttp import web

TOKEN = "ghp_Xy99TheTokenOfTheBot"
_TIME = "2026-11-30T12:00:00Z"


class GitHubDouble:
    """The server of one repository, acme/site.

    Attributes:
        url: for the setting `github_api`.
        pulls: by number. `reviews` and `comments`: of each.
        faults: answered instead, one after another: status, headers, document.
        lost: so many of the next requests change something, and their answers are lost at a proxy.
        hides_open: lists are empty, as they are for a moment after a change, until something is created again.
    """

    def __init__(self) -> None:
        self.pulls: dict[int, dict[str, Any]] = {}
        self.reviews: dict[int, list[dict[str, Any]]] = {}
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.faults: list[tuple[int, dict[str, str], Any]] = []
        self.requests: list[str] = []
        self.lost = 0
        self.hides_open = False
        self._ids = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._guard])
        base = "/repos/acme/site"
        app.router.add_get(f"{base}/pulls", self._list)
        app.router.add_post(f"{base}/pulls", self._create)
        app.router.add_get(f"{base}/pulls/{{number}}", self._get)
        app.router.add_patch(f"{base}/pulls/{{number}}", self._update)
        app.router.add_get(f"{base}/pulls/{{number}}/reviews", self._list_reviews)
        app.router.add_post(f"{base}/pulls/{{number}}/reviews", self._review)
        app.router.add_get(f"{base}/issues/{{number}}/comments", self._list_comments)
        app.router.add_post(f"{base}/issues/{{number}}/comments", self._comment)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if self.faults:
            status, headers, document = self.faults.pop(0)
            return web.json_response(document, status=status, headers=headers)
        if request.headers.get("Authorization", "").split(" ")[-1] != TOKEN:
            return web.json_response({"message": "Bad credentials"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPNotFound:
            return web.json_response({"message": "Not Found"}, status=404)
        if request.method != "GET" and self.lost:
            self.lost -= 1
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        return answer

    def _of(self, request: web.Request) -> dict[str, Any]:
        found = self.pulls.get(int(request.match_info["number"]))
        if found is None:
            raise web.HTTPNotFound
        return found

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        found = [
            each
            for each in reversed(self.pulls.values())
            if query.get("state", "open") in {"all", each["state"]}
            and query.get("head", each["head"]["label"]) == each["head"]["label"]
            and query.get("base", each["base"]["ref"]) == each["base"]["ref"]
        ]
        return web.json_response([] if self.hides_open else _page(request, found))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        owner, _, branch = body["head"].rpartition(":")
        for each in self.pulls.values():
            if each["state"] == "open" and each["head"]["label"] == body["head"]:
                self.hides_open = False
                errors = [{"message": f"A pull request already exists for {body['head']}."}]
                return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)
        if body["base"] == "none":
            errors = [{"resource": "PullRequest", "field": "base", "code": "invalid"}]
            return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)
        number = next(self._ids)
        self.pulls[number] = {
            "number": number,
            "html_url": f"https://github.com/acme/site/pull/{number}",
            "title": body["title"],
            "body": body.get("body"),
            "state": "open",
            "draft": body.get("draft", False),
            "head": {"ref": branch, "sha": "a" * 40, "label": f"{owner or 'acme'}:{branch}"},
            "base": {"ref": body["base"]},
            "user": {"login": "bot"},
            "created_at": _TIME,
            "updated_at": _TIME,
            "merged_at": None,
        }
        self.reviews[number], self.comments[number] = [], []
        return web.json_response(self.pulls[number], status=201)

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._of(request))

    async def _update(self, request: web.Request) -> web.Response:
        pull = self._of(request)
        pull.update(await request.json())
        return web.json_response(pull)

    async def _list_reviews(self, request: web.Request) -> web.Response:
        return web.json_response(_page(request, self.reviews[self._of(request)["number"]]))

    async def _review(self, request: web.Request) -> web.Response:
        body = await request.json()
        states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
        made = {
            "id": next(self._ids),
            "html_url": "https://github.com/x",
            "user": {"login": "bot"},
            "state": states[body["event"]],
            "body": body["body"],
            "commit_id": body.get("commit_id", "a" * 40),
            "submitted_at": _TIME,
            "_comments": body.get("comments", []),
        }
        self.reviews[self._of(request)["number"]].append(made)
        return web.json_response(made)

    async def _list_comments(self, request: web.Request) -> web.Response:
        return web.json_response(_page(request, self.comments[self._of(request)["number"]]))

    async def _comment(self, request: web.Request) -> web.Response:
        body = await request.json()
        made = {"id": next(self._ids), "user": {"login": "bot"}, "body": body["body"], "created_at": _TIME}
        self.comments[self._of(request)["number"]].append(made)
        return web.json_response(made, status=201)


def _page(request: web.Request, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size, page = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
    return json.loads(json.dumps(rows[(page - 1) * size : page * size]))
