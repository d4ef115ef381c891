"""A receiver of webhooks: an HTTP server on this machine that keeps what it gets, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Self

from aiohttp import web


class Received(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Received], web.Response]


class Receiver:
    """Use as a context manager.

    Attributes:
        answer: makes the answer to each request.
    """

    def __init__(self, answer: Answer = lambda _: web.Response()) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.url = ""
        self._news = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._take))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.BaseRequest) -> web.Response:
        got = Received(
            request.path,
            {name.lower(): value for name, value in request.headers.items()},
            await request.read(),
        )
        self.received.append(got)
        self._news.set()
        return self.answer(got)

    async def until(
        self, condition: Callable[[list[Received]], bool], timeout_s: float = 20.0
    ) -> list[Received]:
        """Wait until what has come fulfils a condition."""
        async with asyncio.timeout(timeout_s):
            while not condition(self.received):
                self._news.clear()
                await self._news.wait()
        return self.received
