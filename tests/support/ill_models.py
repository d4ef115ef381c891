"""A server of models that behaves in every way that it should not, by raw HTTP: the name of the model says how."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Self

_HEAD = "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nConnection: close\r\n{more}\r\n"
# What it sends of an answer before it misbehaves, for each API.
_BEGUN = {
    "openai": 'data: {"choices":[{"index":0,"delta":{"content":"beg"},"finish_reason":null}]}\n\n',
    "ollama": '{"model":"m","done":false,"message":{"role":"assistant","content":"beg"}}\n',
}
_STRANGE = {
    "openai": 'data: {"choices":[{"index":0,"delta":{"content":{"a":1}}}]}\n\n',
    "ollama": '{"model":"m","done":false,"message":{"role":7,"content":{"a":1}}}\n',
}
_FAULT = {
    "openai": 'data: {"error":{"message":"the-secret-of-the-prompt","type":"server_error","code":500}}\n\n',
    "ollama": '{"error":"the-secret-of-the-prompt"}\n',
}
_WHOLE = {
    "openai": 'data: {"choices":[{"index":0,"delta":{"content":"well"},"finish_reason":"stop"}]}\n\n'
    'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\ndata: [DONE]\n\n',
    "ollama": '{"model":"m","done":true,"done_reason":"stop","message":{"role":"assistant","content":"well"},'
    '"prompt_eval_count":1,"eval_count":1}\n',
}


class IllServer:
    """The server. `url` is its address; `asked` the models that were asked, `ended` those whose caller has left or that were answered. The
    model "scripted" answers with the events of `script`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.script: list[object] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}" + ("/v1" if self.kind == "openai" else "")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        model = ""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            sizes = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
            body = await reader.readexactly(int(sizes[0].split(":")[1])) if sizes else b"{}"
            model = str(json.loads(body).get("model", "list"))
            self.asked.append(model)
            await self._answer(model, reader, writer)
        self.ended.append(model)
        writer.close()

    async def _answer(self, model: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(text: str) -> None:
            writer.write(text.encode("latin-1"))
            await writer.drain()

        def head(status: int = 200, more: str = "") -> str:
            streams = "text/event-stream" if self.kind == "openai" else "application/x-ndjson"
            return _HEAD.format(
                status=status, kind=streams if status == 200 else "application/json", more=more
            )

        match model:
            case "silent":
                await reader.read()
            case "stalls":
                await send(head() + _BEGUN[self.kind])
                await reader.read()
            case "dies":
                await send(head(more="Content-Length: 1000000\r\n") + _BEGUN[self.kind])
            case "ends-early":
                await send(head() + _BEGUN[self.kind])
            case "not-json":
                await send(head() + ("data: " if self.kind == "openai" else "") + "{{{{\n\n")
            case "strange":
                await send(head() + _STRANGE[self.kind])
            case "not-http":
                await send("\x00\xff garbage\r\n\r\n")
            case "fault":
                await send(head() + _BEGUN[self.kind] + _FAULT[self.kind])
            case "endless":
                await send(head())
                for _ in range(2000):
                    await send("x" * 65536)
            case "busy":
                await send(head(429, "Retry-After: 7\r\n") + '{"error":"the-secret-of-the-prompt"}')
            case "elsewhere":
                await send(head(307, "Location: http://127.0.0.1:1/\r\n"))
            case "well":
                await send(head() + _WHOLE[self.kind])
            case "scripted":
                events = "".join(f"data: {json.dumps(event)}\n\n" for event in self.script)
                await send(head() + events + "data: [DONE]\n\n")
            case "list":
                await send(head(500) + "{}")
            case _:
                await send(head(int(model)) + '{"error":{"message":"the-secret-of-the-prompt"}}')
