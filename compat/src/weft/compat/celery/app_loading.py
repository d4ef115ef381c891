"""Loads an app by the name that `celery -A` takes: "proj", "proj.app", "proj.app:app". An error says whether the name or the program is wrong."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from celery import Celery
from celery.app.utils import find_app

from weft.agent import Agent, HostingError, LoadError, SettingsError
from weft.agent.process import search_path
from weft.agent.program.loader import program_error
from weft.compat.celery.task_hosting import agent


def load_agent(path: str, queues: str = "") -> Agent:
    """An agent that hosts the tasks of the app at `path`, which may be in the current directory.

    Args:
        path: the app.
        queues: names of queues, with commas. Empty: all of the app.

    Raises:
        LoadError: there is no such module or app.
        ProgramError: the app, or a module of its tasks, cannot be imported; the message has the error with its file and line.
        HostingError: its tasks cannot be hosted.
        SettingsError: a setting of agents has a wrong value.
    """
    app = _loaded(path)
    names = [name for each in queues.split(",") if (name := each.strip())]
    try:
        return agent(app, queues=names)
    except (HostingError, SettingsError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise program_error(f"the tasks of {path} cannot be imported", error) from error


def _loaded(path: str) -> Celery:
    here = Path.cwd()
    search_path.add(here)
    module = path.partition(":")[0]
    try:
        found = find_app(path)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise LoadError(
                f"there is no module {error.name!r}; looked in {here} and in Python's own path"
            ) from None
        raise program_error(f"the app {path} cannot be imported", error) from error
    except (AttributeError, ValueError) as error:
        if not _is_of_program(error, here):
            raise LoadError(f"{path} has no app of Celery: give MODULE:APP, as for `celery -A`") from None
        raise program_error(f"the app {path} cannot be imported", error) from error
    except BaseException as error:
        raise program_error(f"the app {path} cannot be imported", error) from error
    if not isinstance(found, Celery):
        kind = "module" if isinstance(found, ModuleType) else type(found).__name__
        raise LoadError(f"{path} is a {kind}, not an app of Celery: give MODULE:APP, as for `celery -A`")
    return found


def _is_of_program(error: BaseException, here: Path) -> bool:
    """Whether code below the current directory raised it, and not Celery's search."""
    place = error.__traceback__
    while place is not None:
        file = Path(place.tb_frame.f_code.co_filename)
        if file.is_relative_to(here) and "site-packages" not in file.parts and file != Path(__file__):
            return True
        place = place.tb_next
    return False
