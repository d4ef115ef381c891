"""Replaces this process by a new one of the same command, with the same process id, arguments, environment and folder.

It ends in order first, as any process that exits: `finally` blocks, functions of `atexit`, output. Then, in place of the exit, the new program
takes over the process (`exec`). So it comes back whatever watches the process, and nothing that watches it notices an exit. Where that cannot be
(Windows), or fails, the process ends with RESTART_STATUS, and its supervisor starts it again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from weft.agent.errors import RESTART_STATUS
from weft.rpc.process.logs import get_logger
from weft.rpc.process.steady_output import drain

_log = get_logger("weft.agent")

# Process id and agent id, of an agent whose id was generated. Not a setting: it begins otherwise than those.
_KEPT = "_WEFT_RESTARTED"
HELPER_S = 1.0


class _Beginning(NamedTuple):
    """How this process was started: a program may change its folder and its environment."""

    folder: str
    environment: dict[str, str]


def _beginning() -> _Beginning:
    environment = dict(os.environ)
    environment.pop(_KEPT, None)
    try:
        return _Beginning(str(Path.cwd()), environment)
    except OSError:
        # The folder is gone.
        return _Beginning("/", environment)


_began = _beginning()
_kept = os.environ.pop(_KEPT, "")


def take_kept_id() -> str | None:
    """The generated id of the agent that this process was before; once. None: there is none."""
    global _kept  # noqa: PLW0603 - once a process
    process, _, agent_id = _kept.partition(":")
    # A child process may have got the variable.
    _kept = ""
    return agent_id if process == str(os.getpid()) and agent_id else None


def end_and_replace(generated_id: str | None) -> NoReturn:
    """End this process in order, and let a new one take its place. To be called in the main thread.

    Args:
        generated_id: of the agent, if it was generated: the new one has it too.
    """
    atexit.register(_last, generated_id)
    raise SystemExit(RESTART_STATUS)


_ending = False


def _last(generated_id: str | None) -> None:
    """Run all other functions of `atexit`, then replace the process."""
    global _ending  # noqa: PLW0603 - once a process
    if not _ending:
        _ending = True
        # It is the first of them, because it was registered last.
        run_others: Any = getattr(atexit, "_run_exitfuncs", None)
        if run_others is not None:
            with contextlib.suppress(Exception):
                run_others()
        replace_now(generated_id)


def replace_now(generated_id: str | None) -> None:
    """Replace the process at once, from any thread. Returns if that cannot be done."""
    environment = dict(_began.environment)
    if generated_id is not None:
        environment[_KEPT] = f"{os.getpid()}:{generated_id}"
    _log.info("process.replaced", command=len(sys.orig_argv))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    drain()
    _end_helper()
    if os.name != "posix" or not sys.executable:
        return
    try:
        os.chdir(_began.folder)
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606
    except OSError as error:
        _log.error("process.not_replaced", error=str(error), effect=f"it ends with status {RESTART_STATUS}")
        drain()


def _end_helper() -> None:
    """End the helper process of multiprocessing: the new program does not know it, and it would stay as a zombie. It ends when no process
    of multiprocessing is left, which is not awaited for long."""
    stop: Any = getattr(getattr(resource_tracker, "_resource_tracker", None), "_stop", None)
    if stop is None:
        return

    def end() -> None:
        with contextlib.suppress(Exception):
            stop()

    ending = threading.Thread(target=end, name="weft-helper-end", daemon=True)
    ending.start()
    ending.join(HELPER_S)
