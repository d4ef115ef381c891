"""What every backend of models can do: the Protocol, and the values that it speaks in.

    settings ─► Backend ◄─ chain ◄─ ModelService
                  │ pieces of an answer, or a ModelError
                  ▼
            a server of models

A backend knows its server's API and nothing else: it does not retry, time or count. Whatever its server does, only `ModelError`s leave it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from weft.services.models.v1 import models_pb2


@dataclasses.dataclass(frozen=True, slots=True)
class Used:
    """What a backend says that an answer has used, in tokens."""

    prompt_tokens: int
    completion_tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What comes next of an answer.

    Args:
        finish_reason: why it ends; unspecified: it does not end here. An answer without one is not whole.
        used: None: the backend has not told so far.
    """

    content: str = ""
    thinking: str = ""
    tool_calls: Sequence[models_pb2.ToolCall] = ()
    finish_reason: models_pb2.FinishReason = models_pb2.FINISH_REASON_UNSPECIFIED
    used: Used | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of texts, in their order."""

    vectors: Sequence[Sequence[float]]
    used: Used | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PullStep:
    """How far a backend is that fetches a model. Sizes are those of the present part; 0: not known."""

    status: str
    completed_bytes: int = 0
    total_bytes: int = 0
    done: bool = False


class Backend(Protocol):
    """A server of models.

    Args:
        name: in the settings.
        kind: as in an address of the settings.
    """

    name: str
    kind: str

    def chat(self, model: str, request: models_pb2.ChatRequest) -> AsyncIterator[Piece]:
        """Answer a conversation. Closing the iterator ends the request.

        Raises:
            ModelError: the server fails.
        """
        ...

    def generate(self, model: str, request: models_pb2.GenerateRequest) -> AsyncIterator[Piece]:
        """Go on with a text. As `chat`."""
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Make a vector of each text.

        Raises:
            ModelError: the server fails.
        """
        ...

    async def count_tokens(self, model: str, request: models_pb2.ChatRequest) -> int | None:
        """How many tokens a conversation has for the model, with its tools; None: the server does not count.

        Raises:
            ModelError: the server fails.
        """
        ...

    async def models(self) -> list[models_pb2.Model]:
        """Its models, by name.

        Raises:
            ModelError: the server fails.
        """
        ...

    def pull(self, model: str) -> AsyncIterator[PullStep]:
        """Fetch a model from the server's registry.

        Raises:
            ModelError: the server fails, or cannot do this.
        """
        ...

    async def load(self, model: str, keep_s: float | None) -> None:
        """Load a model into memory.

        Args:
            keep_s: how long it stays there without a call, in seconds; None: as the server sees fit.

        Raises:
            ModelError: as `pull`.
        """
        ...

    async def unload(self, model: str) -> None:
        """Put a model out of memory.

        Raises:
            ModelError: as `pull`.
        """
        ...

    async def close(self) -> None:
        """End its connections."""
        ...
