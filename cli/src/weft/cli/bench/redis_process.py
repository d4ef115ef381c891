"""The Redis server that the benchmark measures: one of its own, on a socket, that syncs its log every second."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from typing import NamedTuple, Self

from weft.cli.process.children import Child, Children, free_port, until

# As long as the system takes the path of a socket. The folder of temporary files may have a longer one: then a port does.
_SOCKET_PATH_BYTES = 107


def redis_server() -> str | None:
    """The path of the Redis server program, or None if it is not installed."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def redis_missing() -> str | None:
    """Why this installation cannot measure the Redis store, or None if it can."""
    for module in ("redis", "msgpack"):
        if importlib.util.find_spec(module) is None:
            return f"the Python package {module} is not installed (it is in weft's extra 'coordinator')"
    return "redis-server is not installed" if redis_server() is None else None


class RedisProcess(NamedTuple):
    """A running server."""

    url: str
    child: Child

    @classmethod
    async def start(cls, children: Children) -> Self:
        """Start one and wait until it listens."""
        folder = children.folder / "redis"
        folder.mkdir()
        path = folder / "redis.sock"
        program = redis_server()
        assert program is not None
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            url, place = f"unix://{path}", ("--port", "0", "--unixsocket", str(path))
        else:
            port = free_port()
            url, place = f"redis://127.0.0.1:{port}", ("--bind", "127.0.0.1", "--port", str(port))
        server = children.program(
            "redis",
            program,
            *place,
            *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
        )
        await until(lambda: _listens(url), [server], "redis-server to listen")
        return cls(url, server)


def _listens(url: str) -> bool:
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(place if scheme == "unix" else (host, int(port))) == 0
