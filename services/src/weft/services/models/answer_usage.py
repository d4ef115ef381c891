"""What an answer has used: told by its backend, or estimated, and counted for the task."""

from __future__ import annotations

import contextlib

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


class AnswerMeter:
    """Adds up what one answer uses."""

    def __init__(self, request: models_pb2.ChatRequest) -> None:
        self._request = request
        self._used: Used | None = None
        self._answer_bytes = 0

    def add(self, piece: Piece) -> None:
        self._answer_bytes += len(piece.content.encode()) + len(piece.thinking.encode())
        self._answer_bytes += sum(call.ByteSize() for call in piece.tool_calls)
        self._used = piece.used or self._used

    def usage(self) -> models_pb2.Usage:
        """What has been used so far."""
        if self._used is not None:
            return models_pb2.Usage(
                prompt_tokens=self._used.prompt_tokens, completion_tokens=self._used.completion_tokens
            )
        prompt = sum(map(estimate_message_tokens, self._request.messages))
        prompt += sum(estimate_tokens(tool.ByteSize()) for tool in self._request.tools)
        return models_pb2.Usage(
            prompt_tokens=prompt, completion_tokens=estimate_tokens(self._answer_bytes), estimated=True
        )

    def count(self) -> None:
        """Count it for the running task."""
        if self._used is None and not self._answer_bytes:
            # Nothing came: nothing is known to be used.
            return
        usage = self.usage()
        with contextlib.suppress(LookupError):
            task = current_task()
            task.use("tokens", usage.prompt_tokens + usage.completion_tokens)
            task.use("prompt_tokens", usage.prompt_tokens)
            task.use("completion_tokens", usage.completion_tokens)
