"""A backend that speaks OpenAI's API, by their library: vLLM, llama.cpp, LiteLLM, hosted ones. Its retries are off: the service's own rules decide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from weft.rpc.process.logs import only_warnings
from weft.rpc.security.secret_text import SecretText
from weft.services.models.backends.answer_parts import AnswerReader
from weft.services.models.backends.backend import Piece, PullStep, Vectors
from weft.services.models.backends.bounded_body import BoundedStream
from weft.services.models.backends.llama_cpp import LLAMA_CPP, count_at, window_of
from weft.services.models.backends.openai_faults import model_error
from weft.services.models.backends.openai_messages import chat_arguments, sampling_json
from weft.services.models.backends.vectors import read_vectors
from weft.services.models.model_errors import denied
from weft.services.models.v1 import models_pb2

_MAX_MODELS = 1000
# Servers that take no key get this one: the library wants some.
_NO_KEY = "none"


class _Body(BoundedStream, httpx2.AsyncByteStream):
    pass


class OpenAIBackend:
    """A server with `/chat/completions`."""

    kind = "openai"

    def __init__(self, name: str, url: str, key: SecretText | None, connect_timeout_s: float) -> None:
        self.name = name
        self._url = url
        # OpenAI's own models know this bound by another name.
        self._bound = "max_completion_tokens" if urlsplit(url).hostname == "api.openai.com" else "max_tokens"
        self._counts = False
        self._http = openai.DefaultAsyncHttpxClient(
            # Silence is timed by the service.
            timeout=httpx2.Timeout(None, connect=connect_timeout_s),
            # A key goes nowhere else.
            follow_redirects=False,
            event_hooks={"response": [self._look_at]},
        )
        self._client = openai.AsyncOpenAI(
            base_url=url, api_key=key.reveal() if key else _NO_KEY, max_retries=0, http_client=self._http
        )
        # At their level of debugging, they log prompts.
        only_warnings("openai", "httpx2", "httpcore2")

    async def chat(self, model: str, request: models_pb2.ChatRequest) -> AsyncIterator[Piece]:
        body = self._bounded(chat_arguments(request))
        async for piece in self._stream(self._client.chat.completions, model, body):
            yield piece

    async def generate(self, model: str, request: models_pb2.GenerateRequest) -> AsyncIterator[Piece]:
        body = {"prompt": request.prompt, **sampling_json(request.sampling)}
        async for piece in self._stream(self._client.completions, model, body):
            yield piece

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        try:
            found: Any = await self._client.embeddings.create(
                model=model, input=list(texts), encoding_format="float"
            )
            return read_vectors(self.name, found, len(texts))
        except Exception as error:
            raise model_error(self.name, error) from None

    async def count_tokens(self, model: str, request: models_pb2.ChatRequest) -> int | None:
        if not self._counts:
            return None
        try:
            return await count_at(self._http, self._url, self._client.auth_headers, request)
        except Exception as error:
            raise model_error(self.name, error) from None

    async def models(self) -> list[models_pb2.Model]:
        found: list[models_pb2.Model] = []
        try:
            each: Any
            async for each in self._client.models.list():
                # The library does not check what it gets.
                if isinstance(each.id, str) and len(found) < _MAX_MODELS:
                    found.append(models_pb2.Model(name=each.id, context_tokens=window_of(each)))
                    self._counts = self._counts or getattr(each, "owned_by", "") == LLAMA_CPP
        except Exception as error:
            raise model_error(self.name, error) from None
        return sorted(found, key=lambda model: model.name)

    async def pull(self, model: str) -> AsyncIterator[PullStep]:
        raise self._cannot("fetch models")
        yield PullStep("")

    async def load(self, model: str, keep_s: float | None) -> None:
        raise self._cannot("load models")

    async def unload(self, model: str) -> None:
        raise self._cannot("put models out of memory")

    async def close(self) -> None:
        await self._client.close()

    async def _stream(self, api: Any, model: str, body: dict[str, Any]) -> AsyncIterator[Piece]:
        reader = AnswerReader(self.name)
        try:
            stream: Any = await api.create(
                model=model, stream=True, stream_options={"include_usage": True}, **body
            )
            async with stream:
                async for chunk in stream:
                    if (piece := reader.read(chunk)) is not None:
                        yield piece
        except Exception as error:
            raise model_error(self.name, error) from None
        yield reader.end()

    def _bounded(self, body: dict[str, Any]) -> dict[str, Any]:
        if "max_tokens" in body:
            body[self._bound] = body.pop("max_tokens")
        return body

    async def _look_at(self, response: httpx2.Response) -> None:
        response.stream = _Body(response.stream, self.name)

    def _cannot(self, what: str) -> Exception:
        return denied(self.name, f"servers with OpenAI's API do not {what} when told; do it there")
