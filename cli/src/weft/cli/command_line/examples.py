"""Examples below the text of a command's help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])


def with_examples(text: str, *commands: str) -> str:
    """A help text with command lines below it."""
    lines = "".join(f"\n  {command}" for command in commands)
    # \b keeps click from wrapping the next paragraph.
    return f"{inspect.cleandoc(text)}\n\n\b\nExamples:{lines}"


def examples(*commands: str) -> Callable[[Command], Command]:
    """Decorates a command: adds example command lines to its docstring, which is its help."""

    def decorate(function: Command) -> Command:
        function.__doc__ = with_examples(function.__doc__ or "", *commands)
        return function

    return decorate
