"""One child process of a test: started, watched, signalled, and always gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.fork_server import ForkedChild, ForkServer, forks, serves

ROOT = Path(__file__).resolve().parents[2]
_IMPORTS = (ROOT, ROOT / "tests" / "support" / "gen", ROOT / "examples" / "corpus" / "gen")

# Processes of a killed test run must not join the meshes of the next run: the system gives out the same ports again.
_LEASH = (
    ("setpriv", "--pdeathsig", "KILL", "--") if sys.platform == "linux" and shutil.which("setpriv") else ()
)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment without WEFT_ settings, with the project's test modules importable."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("WEFT_")}
    env["PYTHONPATH"] = os.pathsep.join(map(str, _IMPORTS))
    env["PYTHONUNBUFFERED"] = "1"
    return env | dict(extra or {})


@functools.cache
def fork_server() -> ForkServer:
    """The one of this process, which starts at its first use."""
    return ForkServer(_LEASH, environment(), str(ROOT), stock=False)


@functools.cache
def stock_fork_server() -> ForkServer:
    """The same, for what is no part of weft."""
    return ForkServer(_LEASH, environment(), str(ROOT), stock=True)


async def until(condition: Callable[[], bool], what: str, *, timeout_s: float = 20.0) -> None:
    """Wait until `condition` holds, looking often; `what` names it when it never does."""
    ends_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"after {timeout_s:g} s still not: {what}")
        await asyncio.sleep(0.01)


class Process:
    """A child in a session of its own, its output in one log file. It ends with this process (on Linux)."""

    def __init__(
        self, name: str, args: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._child: subprocess.Popen[bytes] | ForkedChild = subprocess.Popen(
                [*_LEASH, *args],
                cwd=ROOT,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @classmethod
    def forked(
        cls,
        name: str,
        args: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        module: str = "",
        stock: bool = False,
    ) -> Process:
        """A `weft` command, or a module, from a fork server."""
        made = cls.__new__(cls)
        made.name, made.log = name, log
        with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            files = [nothing.fileno(), output.fileno(), output.fileno()]
            server = stock_fork_server() if stock else fork_server()
            made._child = server.start(
                args, env=environment(env), cwd=str(ROOT), files=files, leads=True, module=module
            )
        return made

    @classmethod
    def module(cls, name: str, module: str, *args: str, log: Path, stock: bool = False) -> Process:
        """`python -m MODULE ...`; `stock`: it is no part of weft, and gets nothing of it."""
        if forks():
            return cls.forked(name, args, log=log, module=module, stock=stock)
        return cls(name, [sys.executable, "-m", module, *args], log=log)

    @classmethod
    def weft(
        cls, name: str, *args: str, log: Path, env: Mapping[str, str] | None = None, redirect: str = ""
    ) -> Process:
        """A `weft ...` command of this source tree; `redirect` as a shell has it, such as ">&- 2>/dev/full"."""
        if not redirect and serves(args, env or {}):
            return cls.forked(name, args, log=log, env=env)
        words = [sys.executable, "-m", "weft.cli.main", *args]
        if redirect:
            words = ["sh", "-c", f'exec "$@" {redirect}', "sh", *words]
        return cls(name, words, log=log, env=env)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL the process alone (not its children), and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def terminate(self, *, timeout_s: float = 20.0) -> int:
        """SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        return await self.wait(timeout_s=timeout_s)

    def pause(self) -> None:
        """SIGSTOP: alive and silent."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    async def wait(self, *, timeout_s: float = 20.0) -> int:
        """Its exit status (negative: the signal that ended it)."""
        await until(lambda: not self.alive, f"{self.name} has exited", timeout_s=timeout_s)
        status = self._child.returncode
        assert status is not None
        return status

    def cleanup(self) -> None:
        """Kill the whole session, children that outlived the process included."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait(timeout=10)
