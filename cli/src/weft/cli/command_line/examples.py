"""Examples in a command's help, below its text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])


def with_examples(text: str, *commands: str) -> str:
    """A help text with command lines below it, which stay as they are."""
    lines = "".join(f"\n  {command}" for command in commands)
    # The character keeps the next paragraph's lines from being filled.
    return f"{inspect.cleandoc(text)}\n\n\b\nExamples:{lines}"


def examples(*commands: str) -> Callable[[Command], Command]:
    """Adds command lines to a function whose docstring is a command's help."""

    def decorate(function: Command) -> Command:
        function.__doc__ = with_examples(function.__doc__ or "", *commands)
        return function

    return decorate
