"""`--reload`: runs the agent as a child process, and starts it again when a Python file changes. For development."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from weft.agent.errors import RESTART_STATUS, SettingsError
from weft.rpc.process.extras import install_command
from weft.rpc.process.logs import get_logger
from weft.rpc.process.signals import stop_signals

_log = get_logger("weft.agent")

# Seconds between SIGTERM and SIGKILL: after a file was saved, the restart should not wait for a long handler.
STOP_TIMEOUT_S = 5.0


def run_with_reload(argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Run `argv` until this process is told to stop. Returns its exit status.

    A child that ends by itself is started again at the next change, or at once if its exit status asks for a restart.

    Args:
        env: the child's environment; None: this one's.

    Raises:
        SettingsError: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        raise SettingsError(f"--reload needs watchfiles: {install_command('reload')}") from None
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in stop_signals():
        signal.signal(number, on_signal)
    child = subprocess.Popen(argv, env=env)  # noqa: S603 - our own command line
    try:
        for changes in watch(
            Path.cwd(),
            watch_filter=PythonFilter(),
            stop_event=stop,
            raise_interrupt=False,
            rust_timeout=500,
            yield_on_timeout=True,
        ):
            if not changes and child.poll() != RESTART_STATUS:
                continue
            _log.info("agent.restarting", changed=sorted({path for _, path in changes})[:5])
            _end(child)
            child = subprocess.Popen(argv, env=env)  # noqa: S603 - our own command line
    finally:
        status = _end(child)
    return status


def _end(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of a `weft` child with these arguments."""
    return [sys.executable, "-P", "-m", "weft.cli.main", *arguments]
