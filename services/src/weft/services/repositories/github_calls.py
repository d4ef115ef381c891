"""Calls of GitHub's API, by githubkit: with deadlines, without retries of its own, redirects and caches; and what its errors mean.

githubkit and its schemas take a second to import: they are imported in a thread, at the first call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from weft.services.repositories.credentials import Secret
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.remote_urls import RemoteUrl

if TYPE_CHECKING:
    from githubkit import GitHub

TIMEOUT_S = 30.0
_RETRY_S = 5.0
_REDIRECTS = range(300, 400)
_SERVER_FAULTS = 500
Call = Callable[[], Awaitable[Any]]


def api_url(url: RemoteUrl, given: dict[str, str]) -> str:
    """The API's URL of a host."""
    if url.host in given:
        return given[url.host]
    return "https://api.github.com" if url.host == "github.com" else f"{url.scheme}://{url.host}/api/v3"


def owner_and_name(url: RemoteUrl) -> tuple[str, str]:
    """The parts of a repository's path.

    Raises:
        RepositoryError: NAME_REFUSED: it has more or fewer.
    """
    owner, slash, name = url.repository.partition("/")
    if not slash or "/" in name:
        raise RepositoryError(
            "NAME_REFUSED", f"a repository of GitHub is https://HOST/OWNER/NAME, not {url.text}"
        )
    return owner, name


@contextlib.asynccontextmanager
async def client(api: str, secret: Secret | None) -> AsyncIterator[GitHub[Any]]:
    """A client of one call."""
    kit = await asyncio.to_thread(_load)
    made = kit(
        secret.password if secret is not None else None,
        base_url=api,
        user_agent="weft",
        follow_redirects=False,
        timeout=TIMEOUT_S,
        http_cache=False,
        auto_retry=False,
    )
    async with made:
        yield made


def _load() -> Any:
    import githubkit

    # What is imported at its first use, too.
    kit = githubkit.GitHub()
    _ = (kit.rest.pulls.async_create, kit.rest.issues.async_create_comment)
    return githubkit.GitHub


async def ask(call: Call, missing: str, secret: Secret | None) -> Any:
    """Make a request. Returns the JSON of its answer.

    Args:
        missing: the reason of an answer that there is none.

    Raises:
        RepositoryError: REMOTE_REFUSED, REMOTE_UNAVAILABLE, API_REFUSED, or `missing`.
    """
    from githubkit.exception import GitHubException, RateLimitExceeded, RequestFailed

    try:
        async with asyncio.timeout(TIMEOUT_S):
            response = await call()
            if response.status_code in _REDIRECTS:
                raise RepositoryError("REMOTE_REFUSED", "the repository is elsewhere now: use its new URL")
            return response.json()
    except RateLimitExceeded as error:
        wait_s = max(1.0, error.retry_after.total_seconds())
        raise RepositoryError(
            "REMOTE_UNAVAILABLE", f"the API's limit is reached, for {wait_s:g} s", retry_after_s=wait_s
        ) from None
    except RequestFailed as error:
        raise failure(error.response.status_code, _told(error.response, secret), missing) from None
    except (GitHubException, TimeoutError, ValueError) as error:
        raise RepositoryError(
            "REMOTE_UNAVAILABLE", f"the API gives no answer: {type(error).__name__}", retry_after_s=_RETRY_S
        ) from None


def failure(status: int, told: str, missing: str) -> RepositoryError:
    """What an answer of the API means: pure."""
    if status in {401, 403}:
        return RepositoryError("REMOTE_REFUSED", f"the API does not accept the credential for this: {told}")
    if status in {404, 410}:
        return RepositoryError(missing, f"there is none, or the credential may not see it: {told}")
    if status == 429 or status >= _SERVER_FAULTS:
        return RepositoryError(
            "REMOTE_UNAVAILABLE", f"the API answers {status}: {told}", retry_after_s=_RETRY_S
        )
    return RepositoryError("API_REFUSED", f"the API answers {status}: {told}")


def _told(response: Any, secret: Secret | None) -> str:
    """The words of a failure."""
    try:
        document = response.json()
    except ValueError:
        return ""
    if not isinstance(document, dict):
        return ""
    words = [str(document.get("message", ""))]
    errors = document.get("errors")
    words += [_words_of(each) for each in (errors[:5] if isinstance(errors, list) else ())]
    text = "; ".join(word for word in words if word)
    return text.replace(secret.password, "[secret]") if secret is not None else text


def _words_of(error: Any) -> str:
    return str(error.get("message") or error.get("code") or "") if isinstance(error, dict) else str(error)
