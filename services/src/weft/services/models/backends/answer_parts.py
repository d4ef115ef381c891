"""Reads the chunks of a chat completion, of which nothing is known to be as it should: a server may send anything. Pure."""

from __future__ import annotations

from typing import Any

from weft.services.models.backends.backend import Piece, Used
from weft.services.models.backends.openai_messages import FINISHES
from weft.services.models.model_errors import garbage, unavailable
from weft.services.models.v1 import models_pb2

_MAX_CALLS = 256
_MAX_CALL_CHARS = 4 * 1024 * 1024


class AnswerReader:
    """The pieces of one answer. Calls of tools come in parts, and are told whole, at the end."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._calls: dict[int, models_pb2.ToolCall] = {}
        self._chars = 0
        self._finish: models_pb2.FinishReason = models_pb2.FINISH_REASON_UNSPECIFIED
        self._used: Used | None = None

    def read(self, chunk: Any) -> Piece | None:
        """The piece that a chunk has; None: it has none.

        Raises:
            ModelError: the chunk is not as it should be.
        """
        if (usage := getattr(chunk, "usage", None)) is not None:
            self._used = Used(self._count(usage, "prompt_tokens"), self._count(usage, "completion_tokens"))
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list):
            raise garbage(self._backend, "a chunk has no list of choices")
        if not choices:
            return None
        choice = choices[0]
        if (finish := getattr(choice, "finish_reason", None)) is not None:
            # A server may have reasons of its own: it has ended.
            self._finish = FINISHES.get(str(finish), models_pb2.FINISH_REASON_STOP)
        delta = getattr(choice, "delta", None)
        if delta is None:
            return None
        self._add_calls(getattr(delta, "tool_calls", None) or ())
        content = self._text(delta, "content")
        thinking = self._text(delta, "reasoning_content") or self._text(delta, "reasoning")
        return Piece(content, thinking) if content or thinking else None

    def end(self) -> Piece:
        """The last piece.

        Raises:
            ModelError: the answer has ended before its end.
        """
        if not self._finish:
            raise unavailable(self._backend, "the answer ended before its end")
        finish = self._finish
        if self._calls and finish == models_pb2.FINISH_REASON_STOP:
            # Some servers say so though they have called tools.
            finish = models_pb2.FINISH_REASON_TOOL_CALLS
        calls = [self._calls[index] for index in sorted(self._calls)]
        if any(not call.name for call in calls):
            raise garbage(self._backend, "a call of a tool has no name")
        return Piece(tool_calls=calls, finish_reason=finish, used=self._used)

    def _add_calls(self, parts: Any) -> None:
        if not isinstance(parts, (list, tuple)):
            raise garbage(self._backend, "calls of tools are no list")
        for part in parts:
            index, function = getattr(part, "index", None), getattr(part, "function", None)
            if not isinstance(index, int):
                index = len(self._calls)
            call = self._calls.setdefault(index, models_pb2.ToolCall())
            call.id = self._text(part, "id") or call.id
            call.name += self._text(function, "name")
            arguments = self._text(function, "arguments")
            self._chars += len(arguments)
            if len(self._calls) > _MAX_CALLS or self._chars > _MAX_CALL_CHARS:
                raise garbage(self._backend, "it calls more tools than an answer can have")
            call.arguments_json += arguments

    def _text(self, part: Any, field: str) -> str:
        value = getattr(part, field, None)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise garbage(self._backend, f"{field} is no text")
        # JSON may name halves of characters, which no message of protobuf can have.
        return value.encode(errors="replace").decode() if not value.isascii() else value

    def _count(self, usage: Any, field: str) -> int:
        value = getattr(usage, field, None)
        return value if isinstance(value, int) and 0 <= value < 2**53 else 0
