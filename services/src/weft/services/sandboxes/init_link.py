"""The agent's end of the socket to a sandbox's process 1: asks, with open files, and hears how it ended. What comes from there is not trusted."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from weft.services.sandboxes.box_answers import read_message
from weft.services.sandboxes.sandbox_provider import BoxError

_MOST_BYTES = 4096
_MOST_ASKED_BYTES = 128 * 1024
# Errors of the system that mean something to a caller; others are FAILED_PRECONDITION.
_CODES = {
    errno.ENOENT: grpc.StatusCode.NOT_FOUND,
    errno.ENOSPC: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errno.EFBIG: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errno.EDQUOT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errno.EAGAIN: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errno.ENOMEM: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errno.ECONNREFUSED: grpc.StatusCode.UNAVAILABLE,
}


class InitLink:
    """The link to one process 1, on the running loop.

    Args:
        mine: this end. The link closes it.
    """

    def __init__(self, mine: socket.socket) -> None:
        self._socket = mine
        self._loop = asyncio.get_running_loop()
        mine.setblocking(False)
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self.ready = self._expect(0)
        self._loop.add_reader(mine, self._read)

    def ask(self, do: str, files: Sequence[int] = (), **what: Any) -> tuple[int, asyncio.Future[int]]:
        """Ask for something. Returns the number of the question, and how it ends: a status.

        Args:
            files: open files that go along; they stay open here.

        Raises:
            BoxError: it is too large, or the sandbox has ended or does not listen.
        """
        self._numbers += 1
        number = self._numbers
        data = json.dumps({"id": number, "do": do, **what}).encode(errors="surrogatepass")
        if len(data) > _MOST_ASKED_BYTES:
            raise BoxError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"arguments and variables have {len(data)} bytes together; at most {_MOST_ASKED_BYTES} are possible",
            )
        told = self._expect(number)
        try:
            socket.send_fds(self._socket, [data], list(files))
        except BlockingIOError:
            self._waiting.pop(number)
            raise BoxError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "the sandbox takes no more work: it has not taken the last",
            ) from None
        except OSError as error:
            self._waiting.pop(number)
            raise _gone() from error
        ends = asyncio.ensure_future(_status(told))
        ends.add_done_callback(_heard)
        return number, ends

    def tell(self, do: str, **what: Any) -> None:
        """Say something that is not answered."""
        data = json.dumps({"id": -1, "do": do, **what}).encode()
        # If it has ended, or is flooded, nothing can be done.
        try:
            self._socket.send(data)
        except OSError:
            return

    def close(self) -> None:
        """Everything that is asked ends. Harmless if it is closed."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            if not each.done():
                each.set_exception(_gone())
                each.exception()

    def _expect(self, number: int) -> asyncio.Future[Mapping[str, Any]]:
        made: asyncio.Future[Mapping[str, Any]] = self._loop.create_future()
        self._waiting[number] = made
        return made

    def _read(self) -> None:
        try:
            data = self._socket.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        message = read_message(data)
        if message is None:
            return
        told = self._waiting.pop(message["id"], None)
        if told is not None and not told.done():
            told.set_result(message)


async def _status(told: asyncio.Future[Mapping[str, Any]]) -> int:
    message = await told
    if "error" in message:
        raise failure(message["error"])
    return int(message["exit"]) & 0xFF


def _heard(ended: asyncio.Future[int]) -> None:
    """An error that nobody waits for is no fault."""
    if not ended.cancelled():
        ended.exception()


def failure(number: int) -> BoxError:
    """An error of the system in a sandbox."""
    text = os.strerror(number & 0xFFFF)
    return BoxError(_CODES.get(number, grpc.StatusCode.FAILED_PRECONDITION), f"in the sandbox: {text}")


def _gone() -> BoxError:
    return BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox has ended")
