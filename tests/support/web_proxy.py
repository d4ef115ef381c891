"""A web proxy as companies have them, which passes `CONNECT` on and remembers what it was asked for."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")


class WebProxy:
    """Listens while the `async with` block runs."""

    def __init__(self) -> None:
        # What it was asked to connect to; another first line as it is.
        self.asked: list[str] = []
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def environment(self) -> dict[str, str]:
        """Variables that send everything by this proxy, in both spellings."""
        assert self._server is not None
        url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        excepted = dict.fromkeys(("no_proxy", "NO_PROXY", "no_grpc_proxy"), "")
        return {name: url for each in VARIABLES for name in (each, each.upper())} | excepted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            await self._pass_on(reader, writer)
        finally:
            self._passing.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
            verb, _, rest = head.partition("\r\n")[0].partition(" ")
            place = rest.partition(" ")[0]
            self.asked.append(place if verb == "CONNECT" else head)
            if verb != "CONNECT":
                return
            host, _, port = place.rpartition(":")
            there, back = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
            finally:
                back.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    sink.close()
