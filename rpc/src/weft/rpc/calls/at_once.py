"""Runs a coroutine that does not wait: an ended call is asked for its status without a turn of the event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


def at_once(answer: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not wait, such as `call.code()` of an ended call.

    Raises:
        RuntimeError: the coroutine would have waited.
    """
    try:
        answer.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    answer.close()
    raise RuntimeError("a call that has ended made its caller wait")
