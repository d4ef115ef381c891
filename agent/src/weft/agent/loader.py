"""From "module:object" to an agent, with errors that say what is wrong."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from weft.agent.agent import Agent
from weft.agent.errors import LoadError


def load(path: str) -> Agent:
    """Import `module:object`, with the current directory on `sys.path`.

    The object is an `Agent`, or a function without arguments that returns one.

    Raises:
        LoadError: there is no such module or object, or it is not an agent.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute:
        raise LoadError(f'{path!r} is not of the form "module:object", such as "acme.worker:agent"')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            # The module is there; something that it imports is not.
            raise
        raise LoadError(
            f"there is no module {error.name!r}; looked in {here} and in Python's own path"
        ) from None
    target: object = module
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            agents = [name for name, value in vars(module).items() if isinstance(value, Agent)]
            hint = f"; it has {', '.join(f'{module_name}:{name}' for name in agents)}" if agents else ""
            raise LoadError(f"{module_name} has no {attribute!r}{hint}") from None
    if callable(target) and not isinstance(target, Agent):
        target = target()
    if not isinstance(target, Agent):
        raise LoadError(
            f"{path} is a {type(target).__name__}, not a weft.agent.Agent or a function that returns one"
        )
    return target
