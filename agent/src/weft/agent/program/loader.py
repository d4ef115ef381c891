"""Loads an agent from "module:object". An error says whether the path or the program is wrong."""

from __future__ import annotations

import ast
import importlib
import traceback
from pathlib import Path
from types import ModuleType

from weft.agent.agent import Agent
from weft.agent.errors import LoadError, ProgramError, SettingsError
from weft.agent.process import search_path
from weft.agent.process.patched import refuse_patched
from weft.rpc.similar_names import similar_names

_FORM = 'is not of the form "module:object", such as "acme.worker:agent"'
_MOST_TEXT = 2000


def load(path: str) -> Agent:
    """Import `module:object`, which may be in the current directory (see `search_path`).

    The object is an `Agent`, or a function without arguments that returns one.

    Raises:
        LoadError: there is no such module or object, or it is not an agent.
        ProgramError: the module, or the function, raises; the message has the error with its file and line.
        SettingsError: a setting, such as an environment variable, has a value that it cannot have.
    """
    module_name, colon, attribute = path.partition(":")
    here = Path.cwd()
    if not colon or not module_name or not attribute or _is_file(module_name):
        raise LoadError(f"{path!r} {_FORM}{_meant(path, here)}")
    search_path.add(here)
    other = search_path.taken(module_name, here)
    if other:
        top = module_name.partition(".")[0]
        raise LoadError(
            f"{top} is the name of a module that Python or weft needs ({other}), so the module in {here} is not used: rename it"
        )
    module = _imported(module_name, here)
    refuse_patched()
    target: object = module
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise LoadError(f"{module_name} has no {attribute!r}{_agents_of(module, module_name)}") from None
    if callable(target) and not isinstance(target, Agent):
        target = _made(path, target)
    if not isinstance(target, Agent):
        raise LoadError(
            f"{path} is a {type(target).__name__}, not a weft.agent.Agent or a function that returns one"
        )
    return target


def _imported(name: str, here: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            # The module exists, but a module that it imports is missing.
            raise program_error(f"the module {name} cannot be imported", error) from error
        near = similar_names(name, [file.stem for file in here.glob("*.py")])
        hint = f"; did you mean {near[0]}?" if near else ""
        raise LoadError(
            f"there is no module {error.name!r}; looked in {here} and in Python's own path{hint}"
        ) from None
    except (SettingsError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise program_error(f"the module {name} cannot be imported", error) from error


def _made(path: str, function: object) -> object:
    try:
        return function()  # type: ignore[operator]
    except (SettingsError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise program_error(f"{path} cannot make an agent", error) from error


def program_error(what: str, error: BaseException) -> ProgramError:
    """The program's own error in short: type, message and place in the program."""
    if isinstance(error, SystemExit):
        why = f"it ends the process (sys.exit({error.code!r})): put code that must not run at import under `if __name__ == '__main__':`"
    else:
        why = _text(error)
    place = "" if isinstance(error, SyntaxError) else _place(error)
    return ProgramError(f"{what}: {why}{place}")


def _text(error: BaseException) -> str:
    """Type and message. A SyntaxError also shows its line, with a mark."""
    try:
        lines = "".join(traceback.format_exception_only(error)).rstrip().split("\n")
    except Exception:
        return type(error).__name__
    if isinstance(error, SyntaxError):
        # The last line holds type and message.
        lines = [lines[-1], *(line.removeprefix("  ") for line in lines[:-1])]
    return "\n".join(lines)[:_MOST_TEXT]


def _place(error: BaseException) -> str:
    """The innermost line of the program itself: below the current directory, or else outside weft's loader and
    Python."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd())] or frames
    if not own:
        return ""
    frame = own[-1]
    source = f"\n  {frame.line.strip()}" if frame.line else ""
    return f'\nFile "{frame.filename}", line {frame.lineno}, in {frame.name}{source}'


def _is_file(module_name: str) -> bool:
    return "/" in module_name or "\\" in module_name or module_name.endswith(".py")


def _meant(path: str, here: Path) -> str:
    """A suggestion if only a file or a module was given. Empty if there is nothing to suggest."""
    name, _, attribute = path.partition(":")
    bare = name.removesuffix(".py") if _is_file(name) else name.replace(".", "/")
    file = (here / bare).with_suffix(".py")
    if not bare or not file.is_file():
        return ""
    inside = file.resolve().is_relative_to(here.resolve())
    module = (
        ".".join(file.resolve().relative_to(here.resolve()).with_suffix("").parts) if inside else file.stem
    )
    names = [attribute] if attribute else _agent_names(file) or ["agent"]
    where = "" if inside else f", in the folder {file.parent}"
    return f"; did you mean {' or '.join(f'{module}:{each}' for each in names)}{where}?"


def _agent_names(file: Path) -> list[str]:
    """Names at a file's top level that are bound to `Agent(...)`, without running it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    return [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if ast.unparse(node.value.func).rpartition(".")[2] == "Agent"
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def _agents_of(module: ModuleType, name: str) -> str:
    agents = [each for each, value in vars(module).items() if isinstance(value, Agent)]
    return f"; it has {', '.join(f'{name}:{each}' for each in agents)}" if agents else ""
