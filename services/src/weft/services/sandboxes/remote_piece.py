"""A piece of work in a box that is reached by running programs in it alone: `box_once`, by a process of its own there, what it is given in frames, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc

from weft.services.sandboxes import box_init, box_once
from weft.services.sandboxes.box_once import FAILED, FAILED_STATUS
from weft.services.sandboxes.init_link import failure
from weft.services.sandboxes.sandbox_provider import CHUNK_BYTES, BoxError

PIECE_S = 30.0
PROCESS_ENDED = "its process 1 has ended"
_MOST_HEAD_BYTES = 8 << 20
_START = "import os;g={'__name__':'box'};exec(os.environ['WEFT_BOX'],g);exec(os.environ['WEFT_BOX_ONCE'],g);g['once']()"
_ONCE = ("python3", "-I", "-S", "-c", _START)


class Channel(Protocol):
    """A process in a box: its input, its output, its end."""

    async def write(self, data: bytes) -> None: ...

    async def read(self) -> tuple[bool, bytes] | None:
        """What comes next: (as errors, bytes); None: nothing more."""
        ...

    async def status(self) -> int:
        """Its status, after all has been read."""
        ...

    async def close(self) -> None: ...


class Carrier(Protocol):
    """What a provider can do with a box. Its methods raise `BoxError`."""

    held_by: Mapping[str, str]

    async def run(self, argv: Sequence[str]) -> Channel: ...

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def remove(self) -> None:
        """End it, and wait until nothing is left. Harmless if it is gone."""
        ...

    async def ended_for(self) -> str:
        """Why it has ended, asked when the connection to its process 1 has."""
        ...


def first_argv(lease_s: int) -> list[str]:
    """The command of a box's process 1.

    Args:
        lease_s: without input for so long, it ends.
    """
    return [*_ONCE, json.dumps({"do": "stay", "lease_s": lease_s})]


async def begin(carrier: Carrier, do: str, **what: Any) -> Channel:
    """Begin a piece of work in a box. What is asked is no argument: it may have secrets, and arguments are in logs of engines and clusters."""
    channel = await carrier.run(_ONCE)
    try:
        await channel.write(frame(json.dumps({"do": do, **what}).encode(errors="surrogatepass")))
    except BaseException:
        await channel.close()
        raise
    return channel


async def do_once(carrier: Carrier, do: str) -> None:
    """A piece of work in a box that takes and tells nothing.

    Raises:
        BoxError: it failed, or takes too long.
    """
    channel = await begin(carrier, do)
    try:
        async with asyncio.timeout(PIECE_S):
            _, errors = await read_all(channel)
            await finish(channel, errors)
    except TimeoutError:
        raise too_long() from None
    finally:
        await channel.close()


@functools.cache
def box_variables() -> Mapping[str, str]:
    """The variables that a box needs for it."""
    texts = {"WEFT_BOX": box_init, "WEFT_BOX_ONCE": box_once}
    return {name: Path(str(module.__file__)).read_text(encoding="utf-8") for name, module in texts.items()}


async def finish(channel: Channel, errors: bytearray, *, any_status: bool = False) -> int:
    """The status of what has told all.

    Raises:
        BoxError: it has failed, as its errors say.
    """
    code = await channel.status()
    number = bytes(errors).removeprefix(FAILED.encode()).strip()
    if code == FAILED_STATUS and errors.startswith(FAILED.encode()) and number.isdigit() and len(number) < 6:
        raise failure(int(number))
    if code and not any_status:
        raise BoxError(
            grpc.StatusCode.FAILED_PRECONDITION, f"the work in the sandbox ended with status {code}"
        )
    return code


async def feed(channel: Channel, given: bytes | AsyncIterator[bytes]) -> None:
    """Give it all, and the end.

    Raises:
        BoxError: where it comes from fails. If nobody takes it, what they answer says why.
    """
    async for data in given if not isinstance(given, bytes) else _chunks(given):
        if data:
            with contextlib.suppress(BoxError):
                await channel.write(frame(data))
    with contextlib.suppress(BoxError):
        await channel.write(frame(b""))


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), CHUNK_BYTES):
        yield data[begin : begin + CHUNK_BYTES]


async def read_all(channel: Channel) -> tuple[bytearray, bytearray]:
    told, errors = bytearray(), bytearray()
    while part := await channel.read():
        (errors if part[0] else told).extend(part[1])
        if len(told) + len(errors) > _MOST_HEAD_BYTES:
            raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox tells too much")
    return told, errors


def too_long() -> BoxError:
    return BoxError(grpc.StatusCode.DEADLINE_EXCEEDED, f"the sandbox did not do it within {PIECE_S:.0f} s")


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
