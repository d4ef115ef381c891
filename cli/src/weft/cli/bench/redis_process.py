"""The Redis server that the benchmark measures: one of its own, on a socket, that syncs its log every second."""

from __future__ import annotations

import importlib.util
import shutil
from typing import NamedTuple, Self

from weft.cli.process.children import Child, Children, until


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
        socket = folder / "redis.sock"
        program = redis_server()
        assert program is not None
        server = children.program(
            "redis",
            program,
            *("--port", "0", "--unixsocket", str(socket), "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
        )
        await until(socket.exists, [server], "redis-server to listen")
        return cls(f"unix://{socket}", server)
