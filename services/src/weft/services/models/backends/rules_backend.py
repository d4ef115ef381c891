"""A backend without a model: rules of a file answer, as the last of a chain does when no model can.

    [[rules]]
    match = "(?i)hello|good morning"
    answer = "Good morning. No model answers now; ask again later."

The first rule whose expression is found in the last message of the user answers.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from weft.services.models.backends.backend import Piece, PullStep, Used, Vectors
from weft.services.models.model_errors import denied, model_unknown
from weft.services.models.v1 import models_pb2

MODEL = "rules"
_MAX_FILE_BYTES = 1024 * 1024
# Of a message: expressions may be slow.
_MAX_TEXT = 16 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerRule:
    """An answer to all that match."""

    match: re.Pattern[str]
    answer: str


def read_rules(path: Path) -> list[AnswerRule]:
    """The rules of a file.

    Raises:
        ValueError: it has none, or a wrong one.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f"backends: {path} is too large to be one of rules")
    try:
        listed = tomllib.loads(content.decode()).get("rules")
        rules = [AnswerRule(re.compile(each["match"]), str(each["answer"])) for each in listed or ()]
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        re.error,
        RecursionError,
    ) as error:
        raise ValueError(
            f"backends: {path} must have tables [[rules]], each with match and answer: {error}"
        ) from None
    if not rules:
        raise ValueError(f"backends: {path} has no table [[rules]]")
    return rules


class RulesBackend:
    """Answers by rules."""

    kind = "rules"

    def __init__(self, name: str, rules: Sequence[AnswerRule]) -> None:
        self.name = name
        self._rules = rules

    async def chat(self, model: str, request: models_pb2.ChatRequest) -> AsyncIterator[Piece]:
        asked = [each.content for each in request.messages if each.role == models_pb2.ROLE_USER]
        yield self._answer(asked[-1] if asked else "")

    async def generate(self, model: str, request: models_pb2.GenerateRequest) -> AsyncIterator[Piece]:
        yield self._answer(request.prompt)

    def _answer(self, text: str) -> Piece:
        for rule in self._rules:
            if rule.match.search(text[-_MAX_TEXT:]):
                return Piece(rule.answer, finish_reason=models_pb2.FINISH_REASON_STOP, used=Used(0, 0))
        raise model_unknown(f"no rule of {self.name} answers this")

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        raise denied(self.name, "rules make no vectors")

    async def count_tokens(self, model: str, request: models_pb2.ChatRequest) -> int | None:
        return 0

    async def models(self) -> list[models_pb2.Model]:
        return [models_pb2.Model(name=MODEL, state=models_pb2.MODEL_STATE_LOADED)]

    async def pull(self, model: str) -> AsyncIterator[PullStep]:
        raise denied(self.name, "rules are no model")
        yield PullStep("")

    async def load(self, model: str, keep_s: float | None) -> None:
        """Nothing to do."""

    async def unload(self, model: str) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""
