"""A server that follows the published API of Ollama, as far as the models service uses it, without a model behind it: answers are the words of the question."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any, Self

from aiohttp import web


class OllamaDouble:
    """The server. `url` is its address.

    Args:
        stored: its models.
    """

    def __init__(self, *stored: str, registry: tuple[str, ...] = ("fetched",)) -> None:
        self.stored = set(stored)
        self.registry = set(registry)
        self.loaded: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.window = 4096
        self.calls_tools = False
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/api/chat", self._chat)
        app.router.add_post("/api/generate", self._generate)
        app.router.add_post("/api/embed", self._embed)
        app.router.add_post("/api/pull", self._pull)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body = await request.json()
        self.asked.append((request.path, body))
        if request.path != "/api/pull" and body["model"] not in self.stored:
            text = json.dumps({"error": f"model '{body['model']}' not found"})
            raise web.HTTPNotFound(text=text, content_type="application/json")
        return body  # type: ignore[no-any-return]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        self.loaded.setdefault(body["model"], True)
        parts = [
            {"message": {"role": "assistant", "content": word}}
            for word in self._words(body["messages"][-1].get("content", ""), body)
        ]
        if self.calls_tools and body.get("tools"):
            function = {"name": body["tools"][0]["function"]["name"], "arguments": {"n": 1}}
            parts = [
                {"message": {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}}
            ]
        used = sum(len(each.get("content", "")) for each in body["messages"])
        last = {"message": {"role": "assistant", "content": ""}} | self._end(body, used, len(parts))
        return await self._stream(request, body, [*parts, last])

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if not body.get("prompt"):
            if body.get("keep_alive") == 0:
                self.loaded.pop(body["model"], None)
            else:
                self.loaded[body["model"]] = body.get("keep_alive", True)
            return web.json_response({"model": body["model"], "response": "", "done": True})
        parts = [{"response": word} for word in self._words(body["prompt"], body)]
        return await self._stream(
            request, body, [*parts, {"response": ""} | self._end(body, len(body["prompt"]), len(parts))]
        )

    @staticmethod
    def _words(text: str, body: dict[str, Any]) -> list[str]:
        words = [f"{word} " for word in text.split()]
        return words[: body.get("options", {}).get("num_predict") or len(words)]

    @staticmethod
    def _end(body: dict[str, Any], prompt: int, answer: int) -> dict[str, Any]:
        bound = body.get("options", {}).get("num_predict")
        reason = "length" if bound and answer >= bound else "stop"
        return {"done": True, "done_reason": reason, "prompt_eval_count": prompt, "eval_count": answer}

    async def _stream(
        self, request: web.Request, body: dict[str, Any], parts: list[dict[str, Any]]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for part in parts:
            await response.write(json.dumps({"model": body["model"], "done": False} | part).encode() + b"\n")
        return response

    async def _embed(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        vectors = [[float(len(text)), 1.0] for text in body["input"]]
        used = sum(map(len, body["input"]))
        return web.json_response({"model": body["model"], "embeddings": vectors, "prompt_eval_count": used})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if body["model"] not in self.registry:
            return await self._stream(
                request,
                body,
                [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}],
            )
        layer = {"status": "pulling 8eeb52dfb3bb", "digest": "sha256:8eeb52dfb3bb", "total": 100}
        steps: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        steps += [layer | {"completed": done} for done in range(101)]
        self.stored.add(body["model"])
        return await self._stream(request, body, [*steps, {"status": "success"}])

    async def _tags(self, _request: web.Request) -> web.Response:
        models = [{"name": name, "model": name, "size": 1000} for name in sorted(self.stored)]
        return web.json_response({"models": models})

    async def _ps(self, _request: web.Request) -> web.Response:
        models = [
            {"name": name, "model": name, "context_length": self.window} for name in sorted(self.loaded)
        ]
        return web.json_response({"models": models})


@contextlib.contextmanager
def ollama_in_thread(*stored: str) -> Iterator[OllamaDouble]:
    """The server on an event loop of its own, for fixtures that outlive the loops of their tests."""
    double, loop = OllamaDouble(*stored), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(double.__aenter__(), loop).result(10)
    try:
        yield double
    finally:
        asyncio.run_coroutine_threadsafe(double.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
