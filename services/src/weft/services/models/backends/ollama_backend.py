"""A backend that is Ollama, by their library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import ollama

from weft.rpc.process.logs import only_warnings
from weft.rpc.security.secret_text import SecretText
from weft.services.models.backends.backend import Piece, PullStep, Used, Vectors
from weft.services.models.backends.bounded_body import BoundedStream
from weft.services.models.backends.ollama_faults import model_error
from weft.services.models.backends.ollama_messages import (
    chat_arguments,
    finish_of,
    generate_arguments,
    tool_calls_of,
)
from weft.services.models.backends.retry_after import retry_after_s
from weft.services.models.model_errors import garbage, overloaded, unavailable
from weft.services.models.v1 import models_pb2

_MAX_MODELS = 1000


class _Body(BoundedStream, httpx.AsyncByteStream):
    pass


class OllamaBackend:
    """A server of Ollama."""

    kind = "ollama"

    def __init__(self, name: str, url: str, key: SecretText | None, connect_timeout_s: float) -> None:
        self.name = name
        # The library's own would be that of a variable.
        headers = {"authorization": f"Bearer {key.reveal()}" if key else "none"}
        self._client = ollama.AsyncClient(
            host=url,
            headers=headers,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=connect_timeout_s),
            event_hooks={"response": [self._look_at]},
        )
        only_warnings("ollama", "httpx", "httpcore")

    async def chat(self, model: str, request: models_pb2.ChatRequest) -> AsyncIterator[Piece]:
        arguments = chat_arguments(self.name, request)
        calls: list[models_pb2.ToolCall] = []
        try:
            async for part in await self._client.chat(model=model, stream=True, **arguments):
                message = part.message
                calls += tool_calls_of(self.name, message.tool_calls, len(calls))
                if message.content or message.thinking:
                    yield Piece(message.content or "", message.thinking or "")
                if part.done:
                    yield Piece(tool_calls=calls, finish_reason=finish_of(part, calls), used=_used(part))
                    return
        except Exception as error:
            raise model_error(self.name, error) from None
        raise unavailable(self.name, "the answer ended before its end")

    async def generate(self, model: str, request: models_pb2.GenerateRequest) -> AsyncIterator[Piece]:
        try:
            async for part in await self._client.generate(
                model=model, stream=True, **generate_arguments(request)
            ):
                if part.response or part.thinking:
                    yield Piece(part.response or "", part.thinking or "")
                if part.done:
                    yield Piece(finish_reason=finish_of(part, ()), used=_used(part))
                    return
        except Exception as error:
            raise model_error(self.name, error) from None
        raise unavailable(self.name, "the answer ended before its end")

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        try:
            found = await self._client.embed(model=model, input=list(texts))
        except Exception as error:
            raise model_error(self.name, error) from None
        if len(found.embeddings) != len(texts):
            raise garbage(self.name, "another number of vectors than of texts")
        return Vectors([list(each) for each in found.embeddings], _used(found))

    async def count_tokens(self, model: str, request: models_pb2.ChatRequest) -> int | None:
        """Ollama does not count without answering."""
        return None

    async def models(self) -> list[models_pb2.Model]:
        try:
            stored = (await self._client.list()).models
            loaded = {each.model: each for each in (await self._client.ps()).models}
        except Exception as error:
            raise model_error(self.name, error) from None
        found = []
        for each in stored[:_MAX_MODELS]:
            if each.model:
                running = loaded.get(each.model)
                state = models_pb2.MODEL_STATE_LOADED if running else models_pb2.MODEL_STATE_STORED
                window = _count(running.context_length) if running else 0
                found.append(
                    models_pb2.Model(
                        name=each.model, size_bytes=_count(each.size), state=state, context_tokens=window
                    )
                )
        return sorted(found, key=lambda model: model.name)

    async def pull(self, model: str) -> AsyncIterator[PullStep]:
        try:
            async for part in await self._client.pull(model, stream=True):
                done = part.status == "success"
                yield PullStep((part.status or "")[:256], _count(part.completed), _count(part.total), done)
                if done:
                    return
        except Exception as error:
            raise model_error(self.name, error) from None
        raise unavailable(self.name, "the model was not fetched to its end")

    async def load(self, model: str, keep_s: float | None) -> None:
        # An empty prompt loads the model; without a time, Ollama's own holds.
        await self._keep(model, keep_s)

    async def unload(self, model: str) -> None:
        await self._keep(model, 0)

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _keep(self, model: str, keep_s: float | None) -> None:
        try:
            await self._client.generate(model=model, keep_alive=keep_s)
        except Exception as error:
            raise model_error(self.name, error) from None

    async def _look_at(self, response: httpx.Response) -> None:
        """See each answer first: the library tells nothing of its headers."""
        if response.status_code in {429, 503}:
            raise overloaded(self.name, f"status {response.status_code}", retry_after_s(response.headers))
        response.stream = _Body(response.stream, self.name)


def _used(part: Any) -> Used | None:
    if part.prompt_eval_count is None and part.eval_count is None:
        return None
    return Used(_count(part.prompt_eval_count), _count(part.eval_count))


def _count(value: int | None) -> int:
    return value if value is not None and 0 <= value < 2**53 else 0
