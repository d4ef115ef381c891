"""What two coordinators tell each other while one takes the other's place: JSON, a line each, over a socket of this machine.

    successor                        predecessor
    replace: store, version ───────►
                              ◄───── agrees: version        or   refuses: why
    binds the same port
    bound ─────────────────────────► new connections are the successor's
                                     embedded store: finishes its calls, and closes the store
                              ◄───── released
    opens the store, and serves
    serves: relay ─────────────────► passes on, or serves, what is still connected, and ends

Either may die at any moment; the other one sees the end of the connection. Both are the same user's.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from typing import Any, NamedTuple, Self

# The version of these messages. It changes when an older coordinator would misunderstand them.
PROTOCOL = 1
MAX_LINE_BYTES = 16 * 1024
# Answers that need no work come within this time.
ANSWER_S = 5.0


class HandoverError(Exception):
    """The place cannot be taken; the message says why, and what to do."""


class Gone(Exception):
    """The other end has closed the connection, or does not speak this language."""


class Peer(NamedTuple):
    """The process at the other end, by the kernel. `pid` 0: it is in another namespace of processes."""

    pid: int
    uid: int


class Wire:
    """One connection between two coordinators."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        self._reader, self._writer, self.peer = reader, writer, peer

    @classmethod
    async def over(cls, one: socket.socket) -> Self:
        """Over a connected socket, which it owns from now on."""
        peer = peer_of(one)
        reader, writer = await asyncio.open_unix_connection(sock=one, limit=MAX_LINE_BYTES)
        return cls(reader, writer, peer)

    @property
    def is_ours(self) -> bool:
        """Whether the other end is the same user's, or root's."""
        return self.peer.uid in (os.geteuid(), 0)

    async def tell(self, kind: str, **fields: object) -> None:
        """
        Raises:
            Gone
        """
        if self._writer.is_closing():
            raise Gone("the connection is closed")
        try:
            self._writer.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")
            async with asyncio.timeout(ANSWER_S):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise Gone(str(error)) from None

    async def hear(self, timeout_s: float | None = ANSWER_S) -> dict[str, Any]:
        """The next message.

        Raises:
            Gone
            TimeoutError
        """
        async with asyncio.timeout(timeout_s):
            try:
                line = await self._reader.readline()
                message = json.loads(line) if line.endswith(b"\n") else None
            except (OSError, ValueError, RecursionError) as error:
                raise Gone(str(error)) from None
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise Gone("the connection has ended")
        return message

    async def ended(self) -> None:
        """Wait until the other end is gone."""
        try:
            while await self._reader.read(MAX_LINE_BYTES):
                pass
        except OSError:
            return

    def close(self) -> None:
        self._writer.close()


def peer_of(one: socket.socket) -> Peer:
    """Who is at the other end of a unix socket."""
    kind: int = getattr(socket, "SO_PEERCRED")  # noqa: B009 - Linux alone has it
    pid, uid, _ = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, kind, 12))
    return Peer(pid, uid)


def door_name(listen: str) -> str:
    """The abstract address of the socket at which the coordinator of an address is asked for its place.

    It is a name in the network's namespace, as the port is: no file is left behind, and no folder must be shared.
    """
    return f"\0weft-coordinator/{listen}"
