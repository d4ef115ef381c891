"""Requests to the Kubernetes API: JSON over HTTP, as the account whose folder Kubernetes mounts into each pod. Each has a deadline."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import aiohttp

from weft.cli.operator.agent_pool import Object
from weft.cli.operator.agent_pool_plan import MANAGER
from weft.cli.terminal.failure import Failure
from weft.rpc import bounded_json

# A call that writes: shorter than the time by which a lease outlasts the trust in it (leader_lease).
CALL_S = 5.0
_LIST_S = 30.0
# The API ends a watch after so long; one that is silent for longer is dead.
WATCH_S = 120
_SILENT_S = WATCH_S + 30.0
# The API takes objects of 1.5 MiB; a line of a watch has one.
_LINE_BYTES = 1 << 22
_MESSAGE_CHARS = 800


class ApiAway(Exception):
    """The API cannot be reached, or does not answer as one."""


class ApiRefused(Exception):
    """The API has refused a request.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Expired(Exception):
    """The API does not know any more what happened since then: list again."""


class ClusterApi:
    """The API, on the running loop. Close it.

    Args:
        address: such as "https://10.0.0.1:443", or that of `kubectl proxy`.
        token: the file that has it, which Kubernetes renews; where it is not, no token is sent.
    """

    def __init__(self, address: str, trust: ssl.SSLContext, token: Path) -> None:
        self._address = address.rstrip("/")
        self._token = token
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust), read_bufsize=_LINE_BYTES, raise_for_status=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str, **query: str) -> Object:
        """Read an object or a page of a list.

        Raises:
            ApiRefused, ApiAway
        """
        return await self._ask("GET", path, None, query, _LIST_S if query else CALL_S)

    async def create(self, path: str, body: Object) -> Object:
        """Make an object in a collection. Raises as `get`."""
        return await self._ask("POST", path, body, {}, CALL_S)

    async def replace(self, path: str, body: Object) -> Object:
        """Replace an object, if it has not changed since it was read. Raises as `get`; CONFLICT: it has."""
        return await self._ask("PUT", path, body, {}, CALL_S)

    async def apply(self, path: str, body: Object) -> Object:
        """Let fields be as in the body, and be the operator's (server-side apply). A field that is not known is an error. Raises as `get`."""
        how = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        return await self._ask("PATCH", path, body, how, CALL_S)

    async def watch(self, path: str, **query: str) -> AsyncGenerator[tuple[str, Object]]:
        """The changes of a collection since a resource version: kinds ("ADDED", ...) and objects, until the API ends it.

        Raises:
            Expired, ApiRefused, ApiAway
        """
        how = query | {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S)}
        silence = aiohttp.ClientTimeout(total=None, sock_connect=CALL_S, sock_read=_SILENT_S)
        try:
            async with self._session.get(
                self._address + path,
                params=how,
                headers=self._headers(),
                timeout=silence,
                allow_redirects=False,
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    await _refuse(answer)
                async for line in answer.content:
                    yield read_event(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiAway(f"a watch of {path} broke: {error!r}") from error

    async def _ask(
        self, method: str, path: str, body: Object | None, query: Mapping[str, str], limit_s: float
    ) -> Object:
        # JSON is YAML.
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        try:
            async with (
                asyncio.timeout(limit_s),
                self._session.request(
                    method,
                    self._address + path,
                    params=query,
                    headers=self._headers() | {"Content-Type": kind},
                    data=None if body is None else json.dumps(body),
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    await _refuse(answer)
                found = read_json(await answer.read())
        except TimeoutError as error:
            raise ApiAway(f"the Kubernetes API has not answered within {limit_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiAway(f"the Kubernetes API cannot be asked: {error!r}") from error
        if not isinstance(found, dict):
            raise ApiAway("the Kubernetes API has answered with what is no object")
        return found

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": MANAGER}
        # Read each time: it is renewed.
        if self._token.exists():
            headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
        return headers


def trust_of(account: Path) -> ssl.SSLContext:
    """By whom the API is verified: the account's authority, or the system's where there is none.

    Raises:
        Failure: the authority cannot be used.
    """
    authority = account / "ca.crt"
    try:
        return ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    except (OSError, ssl.SSLError) as error:
        raise Failure(f"{authority} cannot be used: {error}") from None


def own_address() -> str:
    """The API's address within a cluster; empty: this is in none."""
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST", ""),
        os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
    )
    if not host:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def own_namespace(account: Path) -> str:
    """The namespace of the account; empty: not known."""
    try:
        return (account / "namespace").read_text().strip()
    except OSError:
        return ""


async def _refuse(answer: aiohttp.ClientResponse) -> None:
    text = (await answer.content.read(1 << 16)).decode(errors="replace")
    try:
        message = read_json(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text
    if answer.status == HTTPStatus.GONE:
        raise Expired(str(message))
    raise ApiRefused(answer.status, f"{answer.status}: {str(message)[:_MESSAGE_CHARS]}")


def read_json(text: str | bytes) -> Any:
    """JSON of the API. How deep an object is, is looked at where it is read: one of a list must not cost the others.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise bounded_json.TooDeep from None


def read_event(line: bytes) -> tuple[str, Object]:
    """A line of a watch: the kind of the change, and the object.

    Raises:
        ValueError: it is no event.
        Expired, ApiRefused: it says so.
    """
    found = read_json(line)
    if not isinstance(found, dict) or not isinstance(found.get("object"), dict):
        raise ValueError("not an event of a watch")  # noqa: TRY004
    kind, about = str(found.get("type")), found["object"]
    if kind == "ERROR":
        if about.get("code") == HTTPStatus.GONE:
            raise Expired(str(about.get("message")))
        raise ApiRefused(int(about.get("code") or 500), str(about.get("message"))[:_MESSAGE_CHARS])
    return kind, about
