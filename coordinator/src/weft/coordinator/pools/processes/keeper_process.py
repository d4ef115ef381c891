"""The keeper: the parent of a mesh's members on this machine. It outlives the coordinators that ask it, and no member outlives it.

    coordinator ──unix socket, a line of JSON each way──► keeper ──► members, each the first process of a session

- A coordinator that is killed leaves the keeper and the members as they are. The next one finds them by the socket.
- A keeper that is killed takes its members along: the kernel kills each (parent-death signal). What members had started themselves is
  found by its environment, by the next keeper, and killed.
- A keeper that no coordinator has asked for some time stops its members, and ends. One without members ends soon.

There is one keeper for a mesh: it holds a lock on a file for as long as it lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from weft.coordinator.pools.processes.forked_starts import ForkedStarts
from weft.coordinator.pools.processes.kept_process import KeptProcess, adopt_orphans, marked
from weft.rpc.process.file_locks import try_lock
from weft.rpc.process.pool_member import MEMBER, MESH

LOCKED = 3
MAX_LINE_BYTES = 1024 * 1024
MAX_MEMBERS = 2000
# Without members and without a coordinator, it ends so soon.
IDLE_S = 5.0
_TICK_S = 0.1
# A tick that is later than this: this process stood still.
_STOOD_STILL_S = 1.0
_LOGS_S = 5.0
_GRACE_ALONE_S = 30.0


class Keeper:
    """The members of one mesh.

    Args:
        alone_s: without a coordinator, members go on for so long.
    """

    def __init__(self, mesh: str, folder: Path, alone_s: float) -> None:
        self._mesh = mesh
        self._logs = folder / mesh
        self._alone_s = alone_s
        self._members: dict[str, KeptProcess] = {}
        self._starts = ForkedStarts()
        self._starting: set[asyncio.Task[None]] = set()
        self._coordinators: set[asyncio.StreamWriter] = set()
        self._asked_at = time.monotonic()
        self._logs_at = 0.0
        self._over = asyncio.Event()

    async def run(self, path: Path) -> None:
        """Serve until there is nothing to do."""
        adopt_orphans()
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._signal_marked(signal.SIGKILL, None)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop_all)
        server = await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE_BYTES)
        ticks = loop.create_task(self._tick_for_ever())
        await self._over.wait()
        ticks.cancel()
        server.close()
        self._starts.close()

    # -- what coordinators ask ------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._coordinators.add(writer)
        try:
            while line := await reader.readline():
                self._asked_at = time.monotonic()
                request = json.loads(line)
                if request["do"] == "start":
                    # It may take as long as a fork server needs to load.
                    task = asyncio.create_task(self._reply(writer, request))
                    self._starting.add(task)
                    task.add_done_callback(self._starting.discard)
                else:
                    await self._reply(writer, request)
        except (OSError, ValueError, KeyError, TypeError):
            # The coordinator is gone, or is none.
            pass
        finally:
            self._coordinators.discard(writer)
            writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, request: dict[str, Any]) -> None:
        try:
            answer = {"id": request["id"], "answer": await self._answer(request)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            answer = {"id": request.get("id"), "error": f"{type(error).__name__}: {error}"}
        # A coordinator that is gone hears nothing.
        with contextlib.suppress(OSError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    async def _answer(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "list":
                self._alone_s = float(request["alone_s"])
                return {
                    each.id: [each.pid, each.running, each.ending, each.kill_at is not None, each.frozen]
                    for each in self._members.values()
                }
            case "start":
                await self._start(request)
            case "stop":
                self._stop(request["member"], float(request["grace_s"]))
            case "freeze" | "thaw":
                self._freeze(request["member"], frozen=request["do"] == "freeze")
            case "forget":
                member = self._members.get(request["member"])
                if member is not None and not member.running:
                    del self._members[member.id]
                    member.drop_log()
            case other:
                raise ValueError(f"cannot {other}")
        return None

    async def _start(self, request: dict[str, Any]) -> None:
        member_id = request["member"]
        if member_id in self._members:
            return
        if len(self._members) >= MAX_MEMBERS:
            raise ValueError(f"there are {MAX_MEMBERS} processes already")
        env = request["env"] | {MESH: self._mesh, MEMBER: member_id}
        member = KeptProcess(member_id, self._logs / f"{member_id}.log")
        self._members[member_id] = member
        try:
            await self._starts.start(
                member, request["words"], env, request["folder"], fork=request.get("fork", False)
            )
        finally:
            if not member.pid:
                del self._members[member_id]
        if member.kill_at is not None:
            # It was to be stopped meanwhile.
            member.signal(signal.SIGTERM)

    def _stop(self, member_id: str, grace_s: float) -> None:
        member = self._members.get(member_id)
        if member is None or not member.running:
            return
        kill_at = time.monotonic() + grace_s
        if member.kill_at is None:
            member.signal(signal.SIGTERM)
        # One that stands still hears the signal when it goes on.
        self._freeze(member_id, frozen=False)
        member.kill_at = kill_at if member.kill_at is None else min(kill_at, member.kill_at)

    def _freeze(self, member_id: str, *, frozen: bool) -> None:
        """Let a member stand still, or go on, with all that it has started."""
        member = self._members.get(member_id)
        if member is None or not member.running or member.frozen == frozen or (frozen and member.kill_at):
            return
        if not member.pid:
            raise ValueError("it is being started")
        member.frozen = frozen
        # Twice: what it starts meanwhile is there by then.
        for _ in range(2):
            member.signal(signal.SIGSTOP if frozen else signal.SIGCONT)
            self._signal_marked(signal.SIGSTOP if frozen else signal.SIGCONT, member_id)

    def _tell(self) -> None:
        """Tell the coordinators that members have ended."""
        for writer in self._coordinators:
            # One that does not read: it lists every few seconds anyway.
            if writer.transport.get_write_buffer_size() < MAX_LINE_BYTES:
                writer.write(b'{"changed": true}\n')

    # -- its children ---------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Children have ended: members, and processes that members left behind."""
        # Before their ends: members that have just been started.
        self._starts.read()
        by_pid = {each.pid: each for each in self._members.values() if each.running and each.pid}
        changed = False
        while True:
            try:
                # It keeps its pid until it is waited for: so the signal to its group cannot reach another one.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            member = by_pid.pop(found.si_pid, None)
            if member is not None:
                member.signal(signal.SIGKILL)
            _, status = os.waitpid(found.si_pid, 0)
            self._starts.ended(found.si_pid)
            if member is not None:
                member.ended(status)
                self._signal_marked(signal.SIGKILL, member.id)
                changed = True
        if changed:
            self._tell()

    def _signal_marked(self, number: signal.Signals, member_id: str | None) -> None:
        """Send a signal to what a member has started; None: to what is left of all members of an earlier keeper."""
        for pid, member, _ in marked(self._mesh):
            if pid != os.getpid() and member_id in (None, member):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def _stop_all(self, grace_s: float = _GRACE_ALONE_S) -> None:
        for member in self._members.values():
            self._stop(member.id, grace_s)
        # Without members it ends with the next tick.
        self._asked_at = -1e9

    async def _tick_for_ever(self) -> None:
        ticked_at = time.monotonic()
        while True:
            now = time.monotonic()
            if (stood_still_s := now - ticked_at - _TICK_S) > _STOOD_STILL_S:
                # What coordinators asked meanwhile is not read yet.
                self._asked_at += stood_still_s
            ticked_at = now
            self._tick(now)
            await asyncio.sleep(_TICK_S)

    def _tick(self, now: float) -> None:
        for member in self._members.values():
            if member.running and member.kill_at is not None and now >= member.kill_at:
                member.signal(signal.SIGKILL)
        if now >= self._logs_at:
            self._logs_at = now + _LOGS_S
            for member in self._members.values():
                member.bound_log()
            self._starts.keep(each.kind for each in self._members.values() if each.running)
        running = any(each.running for each in self._members.values())
        if running and now - self._asked_at > self._alone_s:
            self._stop_all()
        elif not running and now - self._asked_at > (self._alone_s if self._members else IDLE_S):
            self._over.set()


def main(mesh: str, folder: str, alone_s: str) -> int:
    """Become the keeper of a mesh. Returns as soon as it serves, in a process of its own.

    Returns:
        An exit status; LOCKED: the mesh has one.
    """
    place = Path(folder)
    lock = os.open(place / f"{mesh}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not try_lock(lock):
        return LOCKED
    if os.fork():
        # The lock belongs to the child now, as does the rest.
        return 0
    os.setsid()
    with open(os.devnull, "r+b") as nowhere, open(place / f"{mesh}.keeper.log", "ab") as log:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 0)
        os.dup2(nowhere.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    path = place / f"{mesh}.sock"
    path.unlink(missing_ok=True)
    asyncio.run(Keeper(mesh, place, float(alone_s)).run(path))
    path.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
