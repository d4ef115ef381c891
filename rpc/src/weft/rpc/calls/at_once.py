"""What a coroutine answers that has nothing to wait for: calls that have ended are asked without a turn of the event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


def at_once(answer: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that does not wait, such as `call.code()` of a call that has ended.

    Raises:
        RuntimeError: it would have waited.
    """
    try:
        answer.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    answer.close()
    raise RuntimeError("a call that has ended made its caller wait")
