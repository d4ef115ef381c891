"""A real redis-server of a test's own: killed, paused and started again on its files and port.

    async with RedisServer(tmp_path / "redis", appendfsync="always") as redis:
        await mesh.coordinator(store=redis.url)
        await redis.kill()
        await redis.restart()

It keeps an append-only file and never evicts, as weft wants it. Several together: `redis_cluster`, `redis_sentinel`.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.foreign_tools import missing
from tests.support.processes import Process

HOST = "127.0.0.1"
START_S = 20.0
_ANSWER_S = 2.0
_LOG_TAIL_CHARS = 4000
# Below the range from which the system gives out ports, and so that a cluster node's second one is too.
_PORTS = range(10_000, 22_000)
CLUSTER_BUS_OFFSET = 10_000
_PORT_TRIES = 20


class PortTaken(Exception):
    """Another process took the port between the check and the bind."""


def redis_binary() -> str:
    """Where redis-server is; skips the test where it is not, and fails it in CI."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return found or missing("redis-server is not installed (Debian: apt install redis-server)")


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float = START_S
) -> None:
    """Wait until `condition` holds, looking often; a server that does not answer yet counts as no."""
    ends_at = time.monotonic() + timeout_s
    error: Exception | None = None
    while True:
        try:
            async with asyncio.timeout(_ANSWER_S):
                if await condition():
                    return
        except (redis.exceptions.RedisError, OSError) as caught:
            error = caught
        if time.monotonic() > ends_at:
            raise TimeoutError(f"after {timeout_s:g} s still not: {what} ({error})")
        await asyncio.sleep(0.02)


class RedisServer:
    """One redis-server process; `folder` takes its configuration, its data and its log."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "redis",
        appendfsync: str = "everysec",
        password: str = "",
        options: Mapping[str, str] | None = None,
        sentinel: bool = False,
    ) -> None:
        """
        Args:
            appendfsync: "everysec" or "always".
            options: further directives of redis.conf, which win over those that are set here.
            sentinel: run as a Sentinel: no data, and only these options.
        """
        self.folder = folder
        self.name = name
        self.password = password
        self.port = 0
        self.process: Process | None = None
        self._sentinel = sentinel
        self._config = folder / f"{name}.conf"
        self._log = folder / f"{name}.log"
        kept = {
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "save": '""',
            "maxmemory-policy": "noeviction",
            # A new replica gets its copy at once, not five seconds later.
            "repl-diskless-sync-delay": "0",
        }
        self._options = ({} if sentinel else kept) | dict(options or {})
        if password:
            self._options |= {"requirepass": f'"{password}"'}
            if not sentinel:
                self._options |= {"masterauth": f'"{password}"'}

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        credentials = f":{self.password}@" if self.password else ""
        return f"redis://{credentials}{self.address}/0"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    def client(self) -> Redis:
        """A client of it, which answers in text and tries once; the caller closes it."""
        return Redis(
            host=HOST,
            port=self.port,
            password=self.password or None,
            decode_responses=True,
            socket_timeout=_ANSWER_S,
            socket_connect_timeout=_ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )

    async def start(self) -> Self:
        """Start it on a free port, and wait until it answers."""
        for _ in range(_PORT_TRIES):
            self.port = free_port()
            self._write_config()
            try:
                await self._launch()
            except PortTaken:
                continue
            return self
        raise RuntimeError(f"{self.name}: no port is free\n{self.log_tail()}")

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        await self._running().kill()

    async def restart(self) -> None:
        """Start it again on the same files and port, and wait until it answers; kill -9 it first if it lives."""
        if self.alive:
            await self.kill()
        await self._launch()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    async def close(self) -> None:
        """End it in any state. Its files stay."""
        if self.process is not None:
            self.process.cleanup()

    def log_tail(self) -> str:
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return text[-_LOG_TAIL_CHARS:]

    async def answers(self) -> bool:
        """Whether it serves now: not while it loads its files."""
        return bool(await self.command("PING"))

    async def command(self, *words: str | int) -> Any:
        """Run any command on a connection of its own. Returns the answer as redis-py reads it."""
        async with self.client() as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    def _running(self) -> Process:
        assert self.process is not None, "start it first"
        return self.process

    def _write_config(self) -> None:
        # Redis and Sentinel rewrite this file when their roles change, and a restart takes up what they wrote.
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {"port": str(self.port), "bind": HOST, "dir": str(self.folder)} | self._options
        self._config.write_text("".join(f"{key} {value}\n" for key, value in options.items()))

    async def _launch(self) -> None:
        args = [redis_binary(), str(self._config), *(["--sentinel"] if self._sentinel else [])]
        written = self._log.stat().st_size if self._log.exists() else 0
        process = self.process = Process(self.name, args, log=self._log)

        async def serving() -> bool:
            if process.alive:
                return await self.answers()
            if "Address already in use" in self._log.read_text(errors="replace")[written:]:
                raise PortTaken(self.address)
            raise AssertionError(f"{self.name} exited\n{self.log_tail()}")

        try:
            await eventually(serving, f"{self.name} answers")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log_tail()}") from None


async def replicate(primary: RedisServer, replica: RedisServer) -> None:
    """Make the one follow the other, also when it is started again, and wait until it has its copy."""
    await replica.command("REPLICAOF", HOST, primary.port)
    await replica.command("CONFIG", "REWRITE")

    async def synced() -> bool:
        if (await replica.command("INFO", "replication")).get("master_link_status") != "up":
            return False
        # The primary sends a copy's first changes, and asks for its acknowledgements, only when it knows that the copy is there.
        told = await primary.command("INFO", "replication")
        return any(
            told[name]["state"] == "online" and str(told[name]["port"]) == str(replica.port)
            for name in told
            if re.fullmatch(r"slave\d+", name)
        )

    await eventually(synced, "the replica has its copy")


def free_port() -> int:
    """A free port, whose cluster bus port is free as well."""
    for _ in range(_PORT_TRIES * 10):
        port = random.choice(_PORTS)
        if _is_free(port) and _is_free(port + CLUSTER_BUS_OFFSET):
            return port
    raise RuntimeError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As redis-server binds: what lingers from a closed connection is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
