"""A backend that speaks OpenAI's API, by their library: vLLM, llama.cpp, LiteLLM, hosted ones. Its retries are off: the service's own rules decide."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from weft.rpc.process.logs import only_warnings
from weft.rpc.security.secret_text import SecretText
from weft.services.models.backends.answer_parts import AnswerReader
from weft.services.models.backends.backend import Piece
from weft.services.models.backends.openai_faults import model_error
from weft.services.models.backends.openai_messages import chat_arguments
from weft.services.models.v1 import models_pb2

_MAX_MODELS = 1000
# Servers that take no key get this one: the library wants some.
_NO_KEY = "none"


class OpenAIBackend:
    """A server with `/chat/completions`."""

    kind = "openai"

    def __init__(self, name: str, url: str, key: SecretText | None, connect_timeout_s: float) -> None:
        self.name = name
        # OpenAI's own models know this bound by another name.
        self._bound = "max_completion_tokens" if urlsplit(url).hostname == "api.openai.com" else "max_tokens"
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=key.reveal() if key else _NO_KEY,
            max_retries=0,
            # Silence is timed by the service.
            timeout=httpx2.Timeout(None, connect=connect_timeout_s),
        )
        # At their level of debugging, they log prompts.
        only_warnings("openai", "httpx2", "httpcore2")

    async def chat(self, model: str, request: models_pb2.ChatRequest) -> AsyncIterator[Piece]:
        body = chat_arguments(request)
        if "max_tokens" in body:
            body[self._bound] = body.pop("max_tokens")
        reader = AnswerReader(self.name)
        try:
            stream: Any = await self._client.chat.completions.create(
                model=model, stream=True, stream_options={"include_usage": True}, **body
            )
            async with stream:
                async for chunk in stream:
                    if (piece := reader.read(chunk)) is not None:
                        yield piece
        except Exception as error:
            raise model_error(self.name, error) from None
        yield reader.end()

    async def models(self) -> list[models_pb2.Model]:
        found: list[models_pb2.Model] = []
        try:
            async for each in self._client.models.list():
                # The library does not check what it gets.
                if isinstance(each.id, str) and len(found) < _MAX_MODELS:
                    found.append(models_pb2.Model(name=each.id))
        except Exception as error:
            raise model_error(self.name, error) from None
        return sorted(found, key=lambda model: model.name)

    async def close(self) -> None:
        await self._client.close()
