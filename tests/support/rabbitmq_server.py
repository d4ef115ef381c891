"""A real rabbitmq-server of a test's own: killed and started again on its files and port."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import aio_pika
import psutil

from tests.support.foreign_tools import missing
from tests.support.processes import Process, until
from tests.support.redis_server import HOST, free_port

START_S = 60.0
# Debian's own command is a wrapper that wants the service's user.
_FOLDERS = ("/usr/lib/rabbitmq/bin", "/usr/sbin", "/usr/local/sbin")


def rabbitmq_binary() -> str:
    """Where rabbitmq-server is; skips the test where it is not, and fails it in CI."""
    found = shutil.which("rabbitmq-server", path=os.pathsep.join(_FOLDERS)) or shutil.which("rabbitmq-server")
    return found or missing("rabbitmq-server is not installed (Debian: apt install rabbitmq-server)")


class RabbitmqServer:
    """A broker with the user guest, whose files are in a folder."""

    def __init__(self, folder: Path) -> None:
        self._binary = rabbitmq_binary()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._port, self._epmd_port = folder, free_port(), free_port()
        self._node = f"weft{self._port}@localhost"
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.kill()
        self._end_epmd()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self._port}/"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        folder = self._folder
        config = folder / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.local = {HOST}:{self._port}\nnum_acceptors.tcp = 2\ncollect_statistics = none\n"
        )
        # Two cores are shared by all tests: one scheduler, which does not wait in a busy loop, is enough.
        env = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -setcookie weft",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
        }
        (folder / "plugins").write_text("[].\n")
        self._process = Process("rabbitmq", [self._binary], log=folder / "rabbitmq.log", env=env)
        process = self._process
        await until(lambda: not process.alive or self._answers(), "rabbitmq answers", timeout_s=START_S)
        assert process.alive, process.output()[-4000:]

    async def kill(self) -> None:
        """SIGKILL, to the broker and all that it has started but its name server."""
        if self._process is None:
            return
        below = _below(self._process.pid)
        for child in below:
            child.kill()
        await self._process.kill()
        await asyncio.to_thread(psutil.wait_procs, below, timeout=10)
        self._process = None

    async def connection(self) -> aio_pika.abc.AbstractConnection:
        return await aio_pika.connect(self.url, timeout=START_S)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), timeout=1):
                return True
        except OSError:
            return False

    def _end_epmd(self) -> None:
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "epmd":
                try:
                    ours = process.environ().get("ERL_EPMD_PORT") == str(self._epmd_port)
                except psutil.Error:
                    continue
                if ours:
                    os.kill(process.pid, signal.SIGTERM)


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
