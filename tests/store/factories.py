"""The stores that the conformance suite and the state machine run against: a new one is added here."""

from __future__ import annotations

import atexit
import functools
import random
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.store.support import Harness, ManualClock, RecordingListener, StoreFactory
from tests.support.redis_server import redis_binary
from weft.coordinator.store.embedded.embedded_store import EmbeddedLimits, EmbeddedStore
from weft.coordinator.store.redis.redis_store import RedisStore
from weft.coordinator.store.store_config import StoreLimits

# Most bytes of the responses of one task.
MAX_PROGRESS_BYTES = 4 * 1024 * 1024
# Most bytes of the events of one topic.
EVENT_KEEP_BYTES = 1024 * 1024


class EmbeddedFactory:
    """Embedded stores in a directory. A crash is a copy of the files as they are, which is what a kill leaves."""

    forgets_claims = True

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self._directory = directory
        self._count = 0
        self._opened: list[EmbeddedStore] = []
        self._paths: dict[int, Path] = {}

    async def open(self) -> Harness:
        return await self._open(self._new_path())

    async def reopen(self, harness: Harness, *, crash: bool) -> Harness:
        store = harness.store
        assert isinstance(store, EmbeddedStore)
        path = self._paths[id(store)]
        if crash:
            copy = self._new_path()
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
            path = copy
        await store.close()
        self._opened.remove(store)
        return await self._open(path)

    def _new_path(self) -> Path:
        self._count += 1
        return self._directory / f"store-{self._count}.db"

    async def _open(self, path: Path) -> Harness:
        store = EmbeddedStore(
            path,
            clock=self.clock,
            rng=random.Random(7),
            limits=EmbeddedLimits(max_progress_bytes=MAX_PROGRESS_BYTES, event_keep_bytes=EVENT_KEEP_BYTES),
        )
        listener = RecordingListener()
        await store.open(listener)
        self._opened.append(store)
        self._paths[id(store)] = path
        return Harness(store, self.clock, listener)

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class RedisFactory:
    """Stores in one redis-server of this process' own, each under a prefix of its own."""

    # Claims and leases are in Redis: a coordinator's end changes none.
    forgets_claims = False

    def __init__(self, directory: Path) -> None:
        del directory
        self.clock = ManualClock()
        self._opened: list[RedisStore] = []
        self._prefixes: dict[int, str] = {}

    async def open(self) -> Harness:
        return await self._open(f"weft-{uuid.uuid4().hex}")

    async def reopen(self, harness: Harness, *, crash: bool) -> Harness:
        store = harness.store
        assert isinstance(store, RedisStore)
        # One that crashed closes nothing: it is left as it is until the end.
        if not crash:
            await store.close()
            self._opened.remove(store)
        return await self._open(self._prefixes[id(store)])

    async def _open(self, prefix: str) -> Harness:
        store = RedisStore(
            redis_url(),
            prefix=prefix,
            clock=self.clock,
            rng=random.Random(7),
            limits=StoreLimits(max_progress_bytes=MAX_PROGRESS_BYTES, event_keep_bytes=EVENT_KEEP_BYTES),
        )
        listener = RecordingListener()
        await store.open(listener)
        self._opened.append(store)
        self._prefixes[id(store)] = prefix
        return Harness(store, self.clock, listener)

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


@functools.cache
def redis_url() -> str:
    """A redis-server on a socket in a folder of its own, until this process ends."""
    binary = redis_binary()
    # Not pytest's folder: the path of a socket has a hundred characters at the most.
    folder = tempfile.TemporaryDirectory(prefix="weft-redis-")
    path = Path(folder.name) / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder.name]
    process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)

    def stop() -> None:
        process.kill()
        process.wait()
        folder.cleanup()

    atexit.register(stop)
    ends_at = time.monotonic() + 10.0
    while not _takes_connections(path):
        assert process.poll() is None, "redis-server did not start"
        assert time.monotonic() < ends_at, "redis-server does not open its socket"
        time.sleep(0.01)
    return f"unix://{path}"


def _takes_connections(path: Path) -> bool:
    """Whether it listens there; its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


FACTORIES: dict[str, Callable[[Path], StoreFactory]] = {"embedded": EmbeddedFactory, "redis": RedisFactory}
