"""What an answer has used: told by its backend, or estimated; its price; and both counted for the task."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from weft.agent import current_task
from weft.services.models.backends.backend import Piece, Used
from weft.services.models.v1 import models_pb2

# Of English text with the usual tokenizers: an estimate where a backend does not count.
BYTES_PER_TOKEN = 4
# What a message costs beside its text.
TOKENS_PER_MESSAGE = 4


def estimate_tokens(size_bytes: int) -> int:
    """How many tokens a text probably has."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def estimate_message_tokens(message: models_pb2.ChatMessage) -> int:
    return TOKENS_PER_MESSAGE + estimate_tokens(message.ByteSize())


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost."""

    prompt: float = 0.0
    completion: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Prices:
    """The price table of the settings: by MODEL, or BACKEND/MODEL, which comes first."""

    prompt: Mapping[str, float]
    completion: Mapping[str, float]

    def of(self, backend: str, model: str) -> Price:
        full = f"{backend}/{model}"
        return Price(
            self.prompt.get(full, self.prompt.get(model, 0.0)),
            self.completion.get(full, self.completion.get(model, 0.0)),
        )


class AnswerMeter:
    """Adds up what one answer uses."""

    def __init__(self, request: models_pb2.ChatRequest | models_pb2.GenerateRequest, price: Price) -> None:
        self._request = request
        self._price = price
        self._used: Used | None = None
        self._answer_bytes = 0

    def add(self, piece: Piece) -> None:
        self._answer_bytes += len(piece.content.encode()) + len(piece.thinking.encode())
        self._answer_bytes += sum(call.ByteSize() for call in piece.tool_calls)
        self._used = piece.used or self._used

    def usage(self) -> models_pb2.Usage:
        """What has been used so far."""
        if self._used is not None:
            return usage_of(self._used, self._price)
        if isinstance(self._request, models_pb2.GenerateRequest):
            prompt = estimate_tokens(len(self._request.prompt.encode()))
        else:
            prompt = sum(map(estimate_message_tokens, self._request.messages))
            prompt += sum(estimate_tokens(tool.ByteSize()) for tool in self._request.tools)
        usage = usage_of(Used(prompt, estimate_tokens(self._answer_bytes)), self._price)
        usage.estimated = True
        return usage

    def count(self) -> None:
        """Count it for the running task."""
        if self._used is not None or self._answer_bytes:
            count_usage(self.usage())


def usage_of(used: Used, price: Price) -> models_pb2.Usage:
    """Tokens with what they cost."""
    return models_pb2.Usage(
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        cost=(used.prompt_tokens * price.prompt + used.completion_tokens * price.completion) / 1e6,
    )


def count_usage(usage: models_pb2.Usage) -> None:
    """Count tokens and cost for the running task."""
    with contextlib.suppress(LookupError):
        task = current_task()
        task.use("tokens", usage.prompt_tokens + usage.completion_tokens)
        task.use("prompt_tokens", usage.prompt_tokens)
        task.use("completion_tokens", usage.completion_tokens)
        if usage.cost:
            task.use("cost", usage.cost)
