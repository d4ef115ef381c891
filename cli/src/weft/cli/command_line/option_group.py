"""Options that several commands share, as the fields of one dataclass: they are parameters of each command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def with_option_group(kind: type[Any], name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command that has a parameter `name` of a dataclass. In its place the command line has an option for each field."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        options = list(inspect.signature(kind, eval_str=True).parameters.values())
        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            # Typer passes everything by name.
            parameters += (
                options
                if parameter.name == name
                else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            )

        @functools.wraps(command)
        def called(**given: Any) -> None:
            group = kind(**{option.name: given.pop(option.name) for option in options})
            command(**{name: group}, **given)

        # Typer reads both.
        called.__dict__["__signature__"] = signature.replace(parameters=parameters)
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorated
