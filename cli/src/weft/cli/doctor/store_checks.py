"""Checks of a store, which change nothing: what a coordinator would find there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.cli.doctor.diagnosis import Diagnosis, ok, problem, warning
from weft.cli.terminal.moments import size

if TYPE_CHECKING:
    from weft.coordinator.store.redis.redis_probe import RedisFacts

# Of a disk: with less a store of tasks is full soon.
_LITTLE_BYTES = 1 << 30
# Of `maxmemory` that is in use.
_NEARLY_FULL = 0.8
# Each call waits for answers of the store.
_SLOW_S = 0.005
_SQLITE = b"SQLite format 3\0"


async def findings(location: str) -> Sequence[Diagnosis]:
    """Check a Redis URL, or the path of an embedded store."""
    if "://" not in location:
        return list(file_findings(Path(location)))
    from weft.rpc.process.extras import require

    require("coordinator")
    from pydantic import ValidationError

    from weft.coordinator.settings import CoordinatorSettings
    from weft.coordinator.store.open_errors import StoreError
    from weft.coordinator.store.redis.redis_probe import probe
    from weft.coordinator.store.store_config import without_credentials

    given: dict[str, Any] = {"store": location}
    try:
        settings = CoordinatorSettings(**given)
        facts = await probe(location, prefix=settings.store_prefix, credentials=settings.store_credentials)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_url=False))
        return [
            problem(
                "settings", f"the coordinator's settings are wrong: {wrong}", "`weft coordinator` says how"
            )
        ]
    except StoreError as error:
        return [
            problem("store", str(error), "is the URL right? does this Redis run, and take these credentials?")
        ]
    return list(redis_findings(without_credentials(location), facts))


def redis_findings(shown: str, facts: RedisFacts) -> Iterator[Diagnosis]:
    """What a Redis' facts mean for tasks. Pure."""
    subject = f"store {shown}"
    if facts.policy != "noeviction":
        yield problem(
            subject,
            f"it may evict keys (maxmemory-policy {facts.policy}), which would lose tasks",
            "CONFIG SET maxmemory-policy noeviction",
        )
    if facts.most_bytes and facts.used_bytes > _NEARLY_FULL * facts.most_bytes:
        yield warning(
            subject,
            f"{size(facts.used_bytes)} of its {size(facts.most_bytes)} are in use: when it is full, tasks are refused",
            "raise maxmemory, shorten result TTLs, or see what waits: weft queues list",
        )
    if not facts.persists:
        yield warning(
            subject,
            "it keeps no append-only file: a crash loses the tasks since its last snapshot",
            "CONFIG SET appendonly yes, and the same in its configuration",
        )
    if facts.answer_s > _SLOW_S:
        yield warning(
            subject, f"it answers a PING in {facts.answer_s * 1000:.0f} ms", "put coordinators nearer to it"
        )
    data = f"weft's data (layout {facts.layout})" if facts.layout else "no data of weft yet"
    synced = {True: ", each write synced", False: "", None: ", syncs not known"}[facts.syncs]
    yield ok(subject, f"Redis {facts.version}, {size(facts.used_bytes)} in use{synced}; it has {data}")


def file_findings(path: Path) -> Iterator[Diagnosis]:
    """Look at an embedded store's file and its disk."""
    subject, folder = f"store {path}", path.absolute().parent
    if not folder.is_dir():
        yield problem(subject, f"there is no folder {folder}", "create it, or name another file")
        return
    if path.exists() and not path.is_file():
        yield problem(subject, "it is no file", "name a file")
        return
    # SQLite makes more files beside it.
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        yield problem(
            subject, "this user must not write there", "give the coordinator's user file and folder"
        )
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _LITTLE_BYTES:
        yield warning(
            subject, f"its disk has {size(free_bytes)} left", "make room: a full disk refuses tasks"
        )
    if not path.exists():
        yield ok(subject, f"no file yet; its disk has {size(free_bytes)} left")
        return
    try:
        with path.open("rb") as file:
            begin = file.read(len(_SQLITE))
    except OSError as error:
        yield problem(subject, f"it cannot be read: {error.strerror}", "give the coordinator's user the file")
        return
    if begin not in (b"", _SQLITE):
        yield problem(
            subject, "it is no database of SQLite", "name another file: weft will not write over this one"
        )
        return
    yield ok(subject, f"a file of {size(path.stat().st_size)}; its disk has {size(free_bytes)} left")
