"""Requests for hooks by HTTP: read within bounds, given to the hook of their path, and answered.

    POST /hooks/NAME                        a hook of the default namespace
    POST /namespaces/NAMESPACE/hooks/NAME   one of another

Strangers reach this. So each connection, header, body and wait has a bound; who is not signed learns nothing but that; and wrong proofs are
answered later, when there are many.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from weft.coordinator.hooks.hook_intake import Taken
from weft.coordinator.hooks.hook_request import MAX_BODY_BYTES, HookRequest, together
from weft.rpc.errors import (
    DataLoss,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    TooLarge,
    Unauthenticated,
    WeftError,
)
from weft.rpc.identity.refused_calls import RefusedCalls
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

MAX_CONNECTIONS = 128
# For the handshake of TLS.
HANDSHAKE_S = 10.0
# For a request's headers, and again for its body. A connection that is silent between two requests is closed after this time, too.
READ_S = 15.0
# For an answer: a namespace may have to be opened first.
ANSWER_S = 30.0
# At a stop, for connections: what is answered is sent, and each is closed. aiohttp would take 0 for "without a bound".
CLOSE_S = 0.2
MAX_LINE_BYTES = 8190
MAX_HEADERS = 100
RETRY_S = 5
_UNKNOWN = ("HOOK_NOT_FOUND", "NAMESPACE_NOT_FOUND")
_NOTHING_HERE = "there is nothing here"
_NOT_NOW = "it cannot be taken now: send it again"


class HookTaker(Protocol):
    """Where requests go."""

    async def take(self, namespace: str, name: str, request: HookRequest) -> Taken:
        """What became of a request. Errors as `HookIntake.take`; NotFound also for a namespace that there is not."""
        ...


class _Answer(NamedTuple):
    """An answer, as JSON."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str]


class HookHttp:
    """The requests of one port.

    Args:
        refused: told of requests that are not signed.
    """

    def __init__(self, hooks: HookTaker, refused: RefusedCalls) -> None:
        self._hooks = hooks
        self._refused = refused
        self._server = web.Server(self._answer)
        # Requests that are being answered, and whether there are none.
        self._answering = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # Connections that are accepted, and do not speak yet (TLS), and until when they may.
        self._begins: dict[_Connection, float] = {}

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._server.connections)

    def connection(self) -> asyncio.BaseProtocol:
        """The protocol of a new connection."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Nobody tells of a handshake that fails.
        self._begins = {each: until for each, until in self._begins.items() if until > now}
        if self.connections + len(self._begins) >= MAX_CONNECTIONS:
            return _NoRoom()
        made = _Connection(
            self._server,
            loop=loop,
            logger=_SILENT,
            access_log=_SILENT,
            keepalive_timeout=READ_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=1.0,
            # A small body could become a large one.
            auto_decompress=False,
        )
        made.begun = self._begun
        self._begins[made] = now + HANDSHAKE_S
        return made

    def _begun(self, connection: _Connection) -> None:
        self._begins.pop(connection, None)

    async def stop(self, grace_s: float) -> None:
        """End all connections; requests under way may end. Idle connections are not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        await self._server.shutdown(CLOSE_S)

    # -- a request ----------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._answering += 1
        self._idle.clear()
        try:
            answer = await self._dealt_with(request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("hooks.failed")
            answer = _told(500, "the coordinator failed; its log has the rest")
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()
        return _response(answer)

    async def _dealt_with(self, request: web.BaseRequest) -> _Answer:
        place = _place(request.path)
        if place is None:
            return _told(404, _NOTHING_HERE)
        if request.method != "POST":
            return _told(405, "hooks take POST alone", {"Allow": "POST"})
        if "content-encoding" in request.headers:
            return _told(415, "hooks take bodies that are not compressed")
        try:
            async with asyncio.timeout(READ_S):
                body = await _read(request)
        except TimeoutError:
            return _told(408, f"the body did not come within {READ_S:g} s")
        if body is None:
            return _told(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        read = HookRequest(body, together(request.headers.items()), dict(request.query))
        try:
            async with asyncio.timeout(ANSWER_S):
                taken = await self._hooks.take(*place, read)
        except TimeoutError:
            return _told(
                503, "the answer takes too long: send the request again", {"Retry-After": str(RETRY_S)}
            )
        except WeftError as error:
            if isinstance(error, Unauthenticated):
                self._refused.add(error, request.path, f"http:{request.remote}:0")
                await self._refused.wait(error)
            return _refusal(error)
        return _Answer(202 if taken.outcome == "filtered" else 200, taken.document, {})


def _refusal(error: WeftError) -> _Answer:
    """The answer to a request that is not taken. 5xx and 429: the sender is to try again; 4xx: it would be no use."""
    if isinstance(error, NotFound) and error.reason_name in _UNKNOWN:
        return _told(404, _NOTHING_HERE)
    status, headers = 503, {"Retry-After": str(max(1, round(error.retry_after_s or RETRY_S)))}
    # What the store says is not for strangers.
    message = _NOT_NOW if error.reason_name == "STORE_UNAVAILABLE" else error.message
    if isinstance(error, Unauthenticated):
        status, headers = 401, {}
    elif isinstance(error, TooLarge):
        status, headers = 413, {}
    elif isinstance(error, (InvalidArgument, DataLoss)):
        status, headers = 400, {}
    elif isinstance(error, ResourceExhausted):
        status = 429
    elif isinstance(error, Internal):
        status = 500
    return _Answer(status, {"error": message, "reason": error.reason_name}, headers)


def _told(status: int, text: str, headers: dict[str, str] | None = None) -> _Answer:
    return _Answer(status, {"error": text}, headers or {})


def _response(answer: _Answer) -> web.Response:
    response = web.json_response(
        answer.document, status=answer.status, headers={"Server": "weft", **answer.headers}
    )
    if answer.status >= 400:
        # What is left of the request is not read.
        response.force_close()
    return response


def _place(path: str) -> tuple[str, str] | None:
    """Namespace and name of the hook at a path; None: no hook has it."""
    head, _, name = path[1:].partition("/")
    if head == "hooks" and name:
        return "", name
    if head == "namespaces":
        namespace, _, rest = name.partition("/")
        word, _, name = rest.partition("/")
        if word == "hooks" and namespace and name:
            return namespace, name
    return None


async def _read(request: web.BaseRequest) -> bytes | None:
    """The body; None: it is too large."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return None
    read = bytearray()
    async for piece in request.content.iter_any():
        read += piece
        if len(read) > MAX_BODY_BYTES:
            return None
    return bytes(read)


# What strangers send is no news: their requests are counted.
_SILENT = logging.Logger("weft.hooks.http", logging.CRITICAL + 1)  # noqa: LOG001  # nobody is to configure it


class _Connection(web.RequestHandler):
    """A connection whose faults are answered without a word of what is behind it."""

    __slots__ = ("begun",)
    # Told of its beginning.
    begun: Callable[[_Connection], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.begun(self)
        super().connection_made(transport)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002  # of the base class
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        return _response(_told(status, "this is no request that is taken here"))


class _NoRoom(asyncio.Protocol):
    """A connection beyond those that there may be: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
