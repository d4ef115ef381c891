"""A coordinator's connection to the keeper of its mesh: found, started if there is none, and asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weft.coordinator.pools.processes.keeper_process import LOCKED, MAX_LINE_BYTES
from weft.coordinator.pools.processes.kept_process import marked
from weft.rpc.process.file_locks import try_lock

_MODULE = "weft.coordinator.pools.processes.keeper_process"
_START_S = 10.0
_LOOK_S = 0.02


class KeeperFault(Exception):
    """The keeper cannot be reached or started, or has refused; the text says why."""


class KeeperGone(KeeperFault):
    """The keeper has ended, or was killed, before it answered."""


class KeeperLink:
    """Asks the keeper.

    Args:
        folder: of its socket and lock, for this user alone.
        env: of a keeper that is started.
        changed: called when members have ended, and when the keeper is gone.
    """

    def __init__(
        self,
        mesh: str,
        folder: Path,
        alone_s: float,
        env: Mapping[str, str],
        changed: Callable[[], None],
    ) -> None:
        self._mesh, self._folder, self._alone_s, self._env = mesh, folder, alone_s, env
        self._changed = changed
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._connecting = asyncio.Lock()
        # There is no keeper, and nothing is left of an earlier one.
        self._swept = False

    async def ask(self, do: str, *, start: bool = False, **fields: Any) -> Any:
        """Ask the keeper; returns its answer. None: there is no keeper. If it is killed meanwhile, the next one is asked: all that is asked
        may be repeated.

        Args:
            start: start a keeper if there is none.

        Raises:
            KeeperFault
        """
        try:
            return await self._ask(do, start=start, fields=fields)
        except KeeperGone:
            return await self._ask(do, start=start, fields=fields)

    async def list(self) -> Any:
        """Ask for the members. None: there is no keeper.

        A keeper that was killed may have left processes of members behind, that do not end by themselves. One is started then, which ends
        them: no member may be started for a long time.
        """
        left = False
        if self._writer is None and not self._swept:
            left = bool(await asyncio.to_thread(marked, self._mesh))
            self._swept = not left
        return await self.ask("list", start=left)

    async def _ask(self, do: str, *, start: bool, fields: Mapping[str, Any]) -> Any:
        writer = await self._connected(start=start)
        if writer is None:
            return None
        self._last_id += 1
        number = self._last_id
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            writer.write(
                json.dumps({"id": number, "do": do, "alone_s": self._alone_s, **fields}).encode() + b"\n"
            )
            await writer.drain()
            return await answer
        except OSError as error:
            if self._writer is writer:
                self._writer = None
            raise KeeperGone(f"the keeper of processes has gone: {error}") from None
        finally:
            self._answers.pop(number, None)

    async def close(self) -> None:
        """Leave the keeper to itself."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    # -- connecting -----------------------------------------------------------------------------------------------

    async def _connected(self, *, start: bool) -> asyncio.StreamWriter | None:
        async with self._connecting:
            ends_at = time.monotonic() + _START_S
            # A keeper that has just been started has no socket yet; one that was killed holds its lock for another moment.
            while self._writer is None and not await self._dial():
                if not self._locked():
                    if not start:
                        return None
                    await self._start()
                elif time.monotonic() > ends_at:
                    raise KeeperFault(
                        f"the keeper of processes does not answer; its log is {self._folder / self._mesh}.keeper.log"
                    )
                else:
                    await asyncio.sleep(_LOOK_S)
            return self._writer

    async def _dial(self) -> bool:
        path = self._folder / f"{self._mesh}.sock"
        # In a folder for temporary files, somebody else may have made it, with a socket that gets all tokens.
        _check_private(self._folder)
        try:
            reader, self._writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE_BYTES)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise KeeperFault(f"the keeper of processes cannot be reached at {path}: {error}") from None
        self._reading = asyncio.get_running_loop().create_task(self._read(reader, self._writer))
        self._swept = False
        return True

    def _locked(self) -> bool:
        """Whether a keeper lives."""
        try:
            lock = os.open(self._folder / f"{self._mesh}.lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not try_lock(lock)
        finally:
            os.close(lock)

    async def _start(self) -> None:
        make_private(self._folder)
        words = [sys.executable, "-P", "-m", _MODULE, self._mesh, str(self._folder), str(self._alone_s)]
        try:
            done = await asyncio.to_thread(
                subprocess.run,
                words,
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                timeout=_START_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KeeperFault(f"the keeper of processes cannot be started: {error}") from None
        if done.returncode not in (0, LOCKED):
            words_of_it = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise KeeperFault(f"the keeper of processes has not started: {' '.join(words_of_it)}")

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                told = json.loads(line)
                if told.get("changed"):
                    self._changed()
                answer = self._answers.get(told.get("id"))
                if answer is None or answer.done():
                    continue
                if "error" in told:
                    answer.set_exception(KeeperFault(told["error"]))
                else:
                    answer.set_result(told["answer"])
        except (OSError, ValueError):
            pass
        finally:
            self._writer = None
            with contextlib.suppress(OSError):
                writer.close()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(KeeperGone("the keeper of processes has gone"))
            self._changed()


def make_private(folder: Path) -> None:
    """Make a folder for this user alone.

    Raises:
        KeeperFault: it is somebody else's, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeeperFault(f"the folder of pools {folder} cannot be used: {error}") from None
    _check_private(folder)


def _check_private(folder: Path) -> None:
    """
    Raises:
        KeeperFault: a folder that is there is somebody else's, or open to others.
    """
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise KeeperFault(f"the folder of pools {folder} cannot be used: {error}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise KeeperFault(
            f"the folder of pools {folder} must belong to this user, and to nobody else (mode 700): set pool_folder"
        )
