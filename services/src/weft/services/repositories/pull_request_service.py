"""The servicer of `PullRequestService`: each call is one or two requests of GitHub's API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from weft.agent import current_task
from weft.services.repositories import github_calls
from weft.services.repositories.call_answers import Context, answering
from weft.services.repositories.credentials import Secret, choose
from weft.services.repositories.git_names import check_branch
from weft.services.repositories.github_json import (
    EVENTS,
    comment_of,
    mark_of,
    pull_request_of,
    review_of,
)
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.remote_urls import check_url
from weft.services.repositories.settings import RepositoriesSettings
from weft.services.repositories.v1 import pull_requests_pb2 as pb
from weft.services.repositories.v1 import pull_requests_pb2_grpc

_PAGE = 100
# Of reviews and comments, whose texts are in the answer.
_TEXT_PAGE = 30
# Pages in which a repeat looks for what it has written.
_MOST_PAGES = 10
_NO_NUMBER = "PULL_REQUEST_NOT_FOUND"


class _Api(NamedTuple):
    """The API for one repository."""

    kit: Any
    owner: str
    name: str
    secret: Secret | None

    async def ask(self, call: github_calls.Call, missing: str = _NO_NUMBER) -> Any:
        return await github_calls.ask(call, missing, self.secret)


class PullRequestService(pull_requests_pb2_grpc.PullRequestServiceServicer):
    """Works with pull requests at hosts that its agent may use."""

    def __init__(self, settings: RepositoriesSettings) -> None:
        self._settings = settings
        self._credentials = settings.parsed_credentials()

    @contextlib.asynccontextmanager
    async def _api(self, place: pb.RepositoryPlace) -> AsyncIterator[_Api]:
        settings = self._settings
        url = check_url(place.url, settings.hosts, settings.plain_hosts)
        owner, name = github_calls.owner_and_name(url)
        credential = choose(self._credentials, place.credential, url)
        secret = credential.read() if credential is not None else None
        async with github_calls.client(github_calls.api_url(url, settings.github_api), secret) as kit:
            yield _Api(kit.rest, owner, name, secret)

    async def OpenPullRequest(
        self, request: pb.OpenPullRequestRequest, context: Context
    ) -> pb.OpenPullRequestResponse:
        async with answering(context):
            head, base = check_branch(request.head_branch), check_branch(request.base_branch)
            async with self._api(request.repository) as api:
                full_head = f"{request.head_owner or api.owner}:{head}"
                found = await _open_from(api, full_head, base)
                if found is None:
                    try:
                        told = await api.ask(
                            lambda: api.kit.pulls.async_create(
                                api.owner,
                                api.name,
                                title=request.title,
                                head=full_head,
                                base=base,
                                body=request.body,
                                draft=request.draft,
                            ),
                            "REPOSITORY_NOT_FOUND",
                        )
                        return pb.OpenPullRequestResponse(pull_request=pull_request_of(told))
                    except RepositoryError as error:
                        # Another call may have opened it meanwhile.
                        if error.reason != "API_REFUSED":
                            raise
                        found = await _open_from(api, full_head, base)
                        if found is None:
                            raise
                return pb.OpenPullRequestResponse(pull_request=pull_request_of(found), existed=True)

    async def GetPullRequest(
        self, request: pb.GetPullRequestRequest, context: Context
    ) -> pb.GetPullRequestResponse:
        async with answering(context), self._api(request.repository) as api:
            told = await api.ask(lambda: api.kit.pulls.async_get(api.owner, api.name, request.number))
            return pb.GetPullRequestResponse(pull_request=pull_request_of(told))

    async def ListPullRequests(
        self, request: pb.ListPullRequestsRequest, context: Context
    ) -> pb.ListPullRequestsResponse:
        async with answering(context), self._api(request.repository) as api:
            words: dict[str, Any] = {"state": "all" if request.all else "open"}
            if request.head_branch:
                words["head"] = f"{api.owner}:{check_branch(request.head_branch)}"
            told = await api.ask(
                lambda: api.kit.pulls.async_list(
                    api.owner, api.name, per_page=_PAGE, page=request.page or 1, **words
                ),
                "REPOSITORY_NOT_FOUND",
            )
            found = [pull_request_of(each, whole=False) for each in _list(told)[:_PAGE]]
            return pb.ListPullRequestsResponse(pull_requests=found, more=len(found) == _PAGE)

    async def UpdatePullRequest(
        self, request: pb.UpdatePullRequestRequest, context: Context
    ) -> pb.UpdatePullRequestResponse:
        async with answering(context), self._api(request.repository) as api:
            words: dict[str, Any] = {}
            if request.title:
                words["title"] = request.title
            if request.HasField("body"):
                words["body"] = request.body
            if request.state:
                words["state"] = "open" if request.state == pb.PULL_REQUEST_STATE_OPEN else "closed"
            told = await api.ask(
                lambda: api.kit.pulls.async_update(api.owner, api.name, request.number, **words)
            )
            return pb.UpdatePullRequestResponse(pull_request=pull_request_of(told))

    async def ReviewPullRequest(
        self, request: pb.ReviewPullRequestRequest, context: Context
    ) -> pb.ReviewPullRequestResponse:
        async with answering(context), self._api(request.repository) as api:
            mark = mark_of(request.key or current_task().id)
            list_all = api.kit.pulls.async_list_reviews
            found = await _marked(api, list_all, request.number, mark)
            if found is not None:
                return pb.ReviewPullRequestResponse(review=review_of(found), existed=True)
            words: dict[str, Any] = {"commit_id": request.commit} if request.commit else {}
            if request.comments:
                words["comments"] = [
                    {"path": each.path, "line": each.line, "side": "RIGHT", "body": each.body}
                    for each in request.comments
                ]
            told = await api.ask(
                lambda: api.kit.pulls.async_create_review(
                    api.owner,
                    api.name,
                    request.number,
                    body=_with(request.body, mark),
                    event=EVENTS[request.verdict],
                    **words,
                )
            )
            return pb.ReviewPullRequestResponse(review=review_of(told))

    async def ListReviews(self, request: pb.ListReviewsRequest, context: Context) -> pb.ListReviewsResponse:
        async with answering(context), self._api(request.repository) as api:
            told = await _page(
                api, api.kit.pulls.async_list_reviews, request.number, request.page or 1, _TEXT_PAGE
            )
            found = [review_of(each) for each in told[:_TEXT_PAGE]]
            return pb.ListReviewsResponse(reviews=found, more=len(found) == _TEXT_PAGE)

    async def AddComment(self, request: pb.AddCommentRequest, context: Context) -> pb.AddCommentResponse:
        async with answering(context), self._api(request.repository) as api:
            mark = mark_of(request.key or current_task().id)
            found = await _marked(api, api.kit.issues.async_list_comments, request.number, mark)
            if found is not None:
                return pb.AddCommentResponse(comment=comment_of(found), existed=True)
            told = await api.ask(
                lambda: api.kit.issues.async_create_comment(
                    api.owner, api.name, request.number, body=_with(request.body, mark)
                )
            )
            return pb.AddCommentResponse(comment=comment_of(told))

    async def ListComments(
        self, request: pb.ListCommentsRequest, context: Context
    ) -> pb.ListCommentsResponse:
        async with answering(context), self._api(request.repository) as api:
            told = await _page(
                api, api.kit.issues.async_list_comments, request.number, request.page or 1, _TEXT_PAGE
            )
            found = [comment_of(each) for each in told[:_TEXT_PAGE]]
            return pb.ListCommentsResponse(comments=found, more=len(found) == _TEXT_PAGE)


async def _open_from(api: _Api, head: str, base: str) -> Any:
    """The open pull request between two branches; None: there is none."""
    told = await api.ask(
        lambda: api.kit.pulls.async_list(api.owner, api.name, state="open", head=head, base=base),
        "REPOSITORY_NOT_FOUND",
    )
    return next(iter(_list(told)), None)


async def _marked(api: _Api, list_all: Any, number: int, mark: str) -> Any:
    """What was written with a mark; None: nothing."""
    for page in range(1, _MOST_PAGES + 1):
        told = await _page(api, list_all, number, page, _PAGE)
        for each in told:
            if isinstance(each, dict) and mark in str(each.get("body", "")):
                return each
        if len(told) < _PAGE:
            return None
    return None


async def _page(api: _Api, list_all: Any, number: int, page: int, size: int) -> list[Any]:
    return _list(await api.ask(lambda: list_all(api.owner, api.name, number, per_page=size, page=page)))


def _list(told: Any) -> list[Any]:
    return told if isinstance(told, list) else []


def _with(body: str, mark: str) -> str:
    return f"{body}\n\n{mark}" if body else mark
