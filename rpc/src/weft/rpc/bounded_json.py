"""JSON of others, with a bound of its depth.

How deep Python's parser goes depends on its version: 1000 levels, less those of the stack, up to 3.11, and many thousands since 3.12. Who walks the value
by recursion, fills it into a message or writes it again goes 1000 at most. So there is one bound, far below, for all that is read.
"""

from __future__ import annotations

import json
from typing import Any

# As protobuf has it for messages within each other.
MAX_DEPTH = 100


class TooDeep(ValueError):
    """The JSON has more levels."""

    def __init__(self) -> None:
        super().__init__(
            f"it is nested too deeply: it may have {MAX_DEPTH} objects and lists within each other"
        )


def loads(text: str | bytes, **hooks: Any) -> Any:
    """The value of a text.

    Args:
        hooks: as of `json.loads`.

    Raises:
        ValueError: it is no JSON, or nested too deeply (TooDeep).
    """
    try:
        value = json.loads(text, **hooks)
    except RecursionError:
        raise TooDeep from None
    opened = (
        text.count("{") + text.count("[") if isinstance(text, str) else text.count(b"{") + text.count(b"[")
    )
    # Most have few of them in all.
    if opened > MAX_DEPTH:
        check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """
    Args:
        value: as of JSON.

    Raises:
        TooDeep
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise TooDeep
