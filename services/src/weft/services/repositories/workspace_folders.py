"""The folders of workspaces, and their locks.

    FOLDER/NAMESPACE/spaces/NAME/about.json    whose it is; the folder is there as a whole, or not at all
                                git/           what git keeps
                                tree/          the files
                    making/NAME~RANDOM         clones under way, and what is being deleted
                    locks/NAME

    clone: lock ─► making/NAME~RANDOM ─► renamed to spaces/NAME ─► unlock
    killed in between: the lock is free, and what is in `making` is removed by the next sweep

A lock is one of the kernel's (flock): it is held by the agent, and by each process of git that the agent has started for the workspace, and is free when all of them have ended.
Locks hold among agents that share the folder. This module blocks, for moments: call it in threads, but `locked`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from weft.services.repositories.problems import RepositoryError

_FIRST_WAIT_S, _MOST_WAIT_S = 0.005, 0.25
_BUSY_RETRY_S = 2.0


class About(NamedTuple):
    """What is kept of a workspace beside git's own.

    Args:
        url: of its remote.
        credential: its name; empty: none.
        single_branch: only `branch` is fetched.
        branch: the one that was asked for; empty: the one that the remote names.
        depth: how many commits are fetched; 0: all.
        created_at: seconds since the epoch.
    """

    url: str
    credential: str
    single_branch: bool
    branch: str
    depth: int
    created_at: float


class Space(NamedTuple):
    """The folder of one workspace."""

    name: str
    path: Path

    @property
    def git(self) -> Path:
        return self.path / "git"

    @property
    def tree(self) -> Path:
        return self.path / "tree"

    @property
    def about_file(self) -> Path:
        return self.path / "about.json"

    def about(self) -> About:
        """What is kept of it.

        Raises:
            OSError: it is gone.
        """
        return About(**json.loads(self.about_file.read_text()))

    def used_at(self) -> float:
        """When it was last used, in seconds since the epoch."""
        return self.about_file.stat().st_mtime

    def size_bytes(self) -> int:
        """The size of what git keeps."""
        return size_of(self.git)


class Folders:
    """All of them."""

    def __init__(self, folder: str, namespace: str) -> None:
        root = Path(folder or f"{tempfile.gettempdir()}/weft-repositories-{os.getuid()}")
        self.root = root.absolute() / (namespace or "default")
        self._spaces, self._making, self._locks = (self.root / each for each in ("spaces", "making", "locks"))
        self._top = root

    def open(self) -> None:
        """Make what is missing.

        Raises:
            OSError: it cannot be made, or is another user's.
        """
        for each in (self._top, self.root, self._spaces, self._making, self._locks):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self._top.stat(follow_symlinks=False)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(
                f"{self._top} belongs to another user, or others may write there: choose another folder"
            )

    def find(self, name: str) -> Space | None:
        """A workspace. None: there is none."""
        space = Space(name, self._spaces / name)
        return space if space.about_file.exists() else None

    def names(self) -> list[str]:
        """The names of all workspaces, sorted."""
        return sorted(each.name for each in self._spaces.iterdir())

    @contextlib.contextmanager
    def making(self, name: str) -> Iterator[Space]:
        """A folder to make a workspace in, which is removed at the end unless it was `keep`-ed."""
        space = Space(name, self._making / f"{name}~{secrets.token_hex(8)}")
        space.path.mkdir(mode=0o700)
        space.git.mkdir(mode=0o700)
        space.tree.mkdir(mode=0o700)
        try:
            yield space
        finally:
            shutil.rmtree(space.path, ignore_errors=True)

    def keep(self, made: Space, about: About) -> Space:
        """Make what was made a workspace, at once."""
        with made.about_file.open("w") as file:
            json.dump(about._asdict(), file)
            file.flush()
            os.fsync(file.fileno())
        kept = Space(made.name, self._spaces / made.name)
        made.path.rename(kept.path)
        _sync_folder(self._spaces)
        return kept

    def delete(self, space: Space) -> None:
        """Remove a workspace whose lock is held: it is gone at once, its files soon after."""
        dying = self._making / f"{space.name}~{secrets.token_hex(8)}"
        space.path.rename(dying)
        shutil.rmtree(dying, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def locked(self, name: str, *, shared: bool, wait_s: float) -> AsyncIterator[int]:
        """Hold the lock of a workspace, which need not exist.

        Yields:
            The open file by which it is held: processes that inherit it hold it, too.

        Raises:
            RepositoryError: WORKSPACE_BUSY: others have it for longer than `wait_s`.
        """
        until, pause_s = time.monotonic() + wait_s, _FIRST_WAIT_S
        while (number := self.try_lock(name, shared=shared)) is None:
            if time.monotonic() >= until:
                raise RepositoryError(
                    "WORKSPACE_BUSY", f"another call has the workspace {name}", retry_after_s=_BUSY_RETRY_S
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_WAIT_S)
        try:
            yield number
        finally:
            os.close(number)

    def try_lock(self, name: str, *, shared: bool = False) -> int | None:
        """Take a lock, if it is free. Returns the open file that holds it; None: others have it."""
        path = self._locks / name
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            # A sweep may have removed the file before it was locked here.
            held = path.stat().st_ino == os.fstat(number).st_ino
        except OSError:
            held = False
        if not held:
            os.close(number)
            return None
        return number

    def sweep(self, idle_ttl_s: float, now_s: float) -> list[str]:
        """Remove workspaces that nobody has used for so long, and what was left by clones that have not ended.

        Returns:
            The names of the workspaces that were removed.
        """
        removed = []
        named = {each.name.partition("~")[0] for each in self._making.iterdir()}
        for name in sorted({*named, *self.names(), *(each.name for each in self._locks.iterdir())}):
            number = self.try_lock(name)
            if number is None:
                continue
            try:
                for left in self._making.glob(f"{name}~*"):
                    shutil.rmtree(left, ignore_errors=True)
                space = self.find(name)
                if space is not None and now_s - space.used_at() > idle_ttl_s:
                    self.delete(space)
                    removed.append(name)
                    space = None
                if space is None:
                    (self._locks / name).unlink(missing_ok=True)
            finally:
                os.close(number)
        return removed


def clear_locks_of_git(space: Space) -> None:
    """Remove the locks and the temporary files of processes of git that were killed. Only for who holds the workspace's lock: nobody else can have them."""
    for each in (
        "index.lock",
        "HEAD.lock",
        "config.lock",
        "shallow.lock",
        "packed-refs.lock",
        "FETCH_HEAD.lock",
    ):
        (space.git / each).unlink(missing_ok=True)
    for pattern in (
        "refs/**/*.lock",
        "objects/pack/tmp_*",
        "objects/pack/.tmp*",
        "objects/tmp_*",
        "objects/incoming-*",
        "weft-index*",
    ):
        for left in space.git.glob(pattern):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def size_of(folder: Path) -> int:
    """The size of all files in a folder, in bytes. What vanishes meanwhile does not count."""
    total, folders = 0, [os.fspath(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _sync_folder(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
