"""The keeper's end of one fork server: starts it, and asks it for members."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from weft.coordinator.pools.processes.kept_process import KeptProcess, start_child
from weft.rpc.process.pool_member import OWN, fork_server_variables

# As of its other end.
_PROTOCOL = 1
_MAX_MESSAGE_BYTES = 4096
# To load what members load, and again to fork: on cores with other work, as long as a member would take by itself.
_ANSWER_S = 15.0
_NO_ANSWER = "the fork server does not answer"


class ForkFault(Exception):
    """The server has forked no member; the text says why."""


class StaleServer(ForkFault):
    """What the server has loaded has changed since: another one will do."""


class ForkServerLink:
    """A fork server for members of one kind.

    Args:
        words: and `env` and `folder`: of one of these members.

    Attributes:
        pid: 0: its end was waited for.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], folder: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # One member at a time.
        self._turn = asyncio.Lock()
        self._asked: tuple[KeptProcess, asyncio.Future[None]] | None = None
        try:
            with theirs:
                number = theirs.fileno()
                own = fork_server_variables(env, number)
                self.pid = start_child(words, own, folder, sys.stderr.buffer, number)
        except BaseException:
            self._socket.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self.read)

    async def fork(self, member: KeptProcess, env: Mapping[str, str], folder: str) -> None:
        """Start a member: it has its pid as soon as the server has told it, before anybody can hear of its end.

        Raises:
            ForkFault: none was started.
        """
        try:
            async with asyncio.timeout(_ANSWER_S):
                await asyncio.shield(self._loaded)
            async with self._turn, asyncio.timeout(_ANSWER_S):
                await self._ask(member, env, folder)
        except TimeoutError:
            # Else it could fork this member later, when it is there already.
            self.close(_NO_ANSWER)
            if not member.pid:
                raise ForkFault(_NO_ANSWER) from None
        except OSError as error:
            raise ForkFault(f"the fork server cannot be asked: {error}") from None

    async def _ask(self, member: KeptProcess, env: Mapping[str, str], folder: str) -> None:
        if self.closed:
            raise ForkFault("the fork server has ended")
        own = {name: env[name] for name in OWN if name in env}
        request = json.dumps({"member": member.id, "env": own, "folder": folder}).encode()
        started = asyncio.get_running_loop().create_future()
        self._asked = member, started
        try:
            with member.open_log() as output:
                socket.send_fds(self._socket, [request], [output.fileno()])
            await started
        except asyncio.CancelledError:
            # Before it is forgotten who was asked for: the server may have started it this moment.
            self.close(_NO_ANSWER)
            raise
        finally:
            self._asked = None

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def read(self) -> None:
        """Take in what it has told."""
        while not self.closed:
            try:
                message = self._socket.recv(_MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.close("the fork server has ended")
                return
            self._take(json.loads(message))

    def _take(self, told: Mapping[str, Any]) -> None:
        if "member" not in told:
            if told.get("ready") == _PROTOCOL:
                self._loaded.set_result(None)
            else:
                self.close(f"the fork server is unfit: {told.get('unfit', 'it is of another version')}")
            return
        if self._asked is None or self._asked[0].id != told["member"]:
            return
        member, started = self._asked
        if "started" in told:
            member.pid = told["started"]
        if started.done():
            return
        if "started" in told:
            started.set_result(None)
        elif "stale" in told:
            started.set_exception(StaleServer(told["stale"]))
        else:
            started.set_exception(ForkFault(told["failed"]))

    def close(self, why: str = "the fork server is not needed any more") -> None:
        """End it. Its members go on."""
        if self.closed:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        with contextlib.suppress(OSError):
            # What it has told by now is true. What it cannot tell any more does not begin.
            self._socket.shutdown(socket.SHUT_RDWR)
            while message := self._socket.recv(_MAX_MESSAGE_BYTES):
                self._take(json.loads(message))
        self._socket.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        started = [] if self._asked is None else [self._asked[1]]
        for waiting in (self._loaded, *started):
            if not waiting.done():
                waiting.set_exception(ForkFault(why))
                # Nobody may wait.
                waiting.exception()
