"""Reads the vectors of OpenAI's API, of which nothing is known to be as it should. Pure."""

from __future__ import annotations

import math
from typing import Any

from weft.services.models.backends.backend import Used, Vectors
from weft.services.models.model_errors import garbage

_MAX_NUMBERS = 65_536


def read_vectors(backend: str, answer: Any, count: int) -> Vectors:
    """
    Args:
        count: how many there must be.

    Raises:
        ModelError: they are not as they should be.
    """
    data = getattr(answer, "data", None)
    if not isinstance(data, list) or len(data) != count:
        raise garbage(backend, "another number of vectors than of texts")
    in_order: list[list[float]] = [[] for _ in range(count)]
    for place, each in enumerate(data):
        index, values = getattr(each, "index", place), getattr(each, "embedding", None)
        if not isinstance(index, int) or not 0 <= index < count:
            raise garbage(backend, "a vector of no text")
        in_order[index] = checked_vector(backend, values)
    if not all(in_order):
        raise garbage(backend, "a text without a vector")
    tokens = getattr(getattr(answer, "usage", None), "prompt_tokens", None)
    return Vectors(in_order, Used(tokens, 0) if isinstance(tokens, int) and 0 <= tokens < 2**53 else None)


def checked_vector(backend: str, values: Any) -> list[float]:
    """
    Raises:
        ModelError: it is no vector.
    """
    if not isinstance(values, (list, tuple)) or not 0 < len(values) <= _MAX_NUMBERS:
        raise garbage(backend, "a vector that is none")
    # Beyond what four bytes hold, too.
    if not all(
        isinstance(each, (int, float)) and math.isfinite(each) and abs(each) < 3.4e38 for each in values
    ):
        raise garbage(backend, "a vector with what is no number")
    return [float(each) for each in values]
