"""What each provider of sandboxes must do, as one suite: programs, files, ports, packing, pausing, ends. Raises AssertionError.

What a provider cannot do is named by the test, and must then be refused with UNIMPLEMENTED and words that say so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from weft.agent import Sandbox
from weft.services.sandboxes.sandbox_provider import Box, BoxError, BoxProgram, ProgramSpec, Provider

WITHIN_S = 60.0
SMALL = Sandbox(memory_mb=64, disk_mb=4, max_processes=20, variables={"A": "b c"})
SERVER = (
    "import socket; s = socket.create_server(('127.0.0.1', 8080)); print('up', flush=True); c, _ = s.accept();"
    " d = b''.join(iter(lambda: c.recv(100), b'')); c.sendall(d[::-1]); c.close()"
)


async def check_box_provider(provider: Provider, *, cannot: frozenset[str] = frozenset()) -> None:
    """All of it, with two boxes.

    Args:
        cannot: methods of a box that the provider does not have.
    """
    async with asyncio.timeout(WITHIN_S):
        box = await provider.create(SMALL)
        try:
            assert {"memory_mb", "cpus", "max_processes", "max_open_files", "disk_mb"} <= box.held_by.keys()
            for check in (_programs, _signals, _files, _ports):
                await check(box)
            await _or_refuses("pause" in cannot, _pauses, box)
            await _packs(box, provider)
            program = await box.start(ProgramSpec(["sleep", "1000"]))
            await box.terminate("enough")
            await box.terminate("again")
            assert box.ended.result() == "enough"
            await program.close()
            with pytest.raises(BoxError) as gone:
                await box.start(ProgramSpec(["true"]))
            assert gone.value.code == grpc.StatusCode.FAILED_PRECONDITION
        finally:
            await box.terminate("the test is over")
            await provider.close()


async def ran(box: Box, *argv: str, given: bytes = b"", **what: Any) -> tuple[int, bytes, bytes]:
    """A program's status, output and errors."""
    program = await box.start(ProgramSpec(argv, **what))
    try:
        await program.write(given)
        await program.end_input()
        return await _rest(program)
    finally:
        await program.close()


async def _rest(program: BoxProgram) -> tuple[int, bytes, bytes]:
    told = {False: b"", True: b""}
    async for as_errors, data in program.output():
        told[as_errors] += data
    return await program.wait(), told[False], told[True]


async def _programs(box: Box) -> None:
    line = "cat; echo $A$B >&2; pwd; exit 3"
    assert await ran(box, "sh", "-c", line, given=b"hello\n", variables={"B": "!"}) == (
        3,
        b"hello\n/work\n",
        b"b c!\n",
    )
    assert await ran(box, "sh", "-c", "pwd; kill -9 $$", folder="/tmp") == (137, b"/tmp\n", b"")
    large = b"x" * 300_000
    assert (await ran(box, "cat", given=large))[1] == large
    # Input that nobody takes is dropped.
    assert (await ran(box, "true", given=large))[0] == 0
    with pytest.raises(BoxError) as none:
        await ran(box, "nosuch")
    assert none.value.code == grpc.StatusCode.NOT_FOUND
    with pytest.raises(BoxError):
        await ran(box, "true", folder="/nosuch")
    # Nothing of what hosts it can be seen or written.
    assert (await ran(box, "sh", "-c", "env"))[1].count(b"WEFT_BOX") == 0
    assert (await ran(box, "touch", "/usr/x"))[0] != 0


async def _signals(box: Box) -> None:
    line = "trap 'echo bye; exit 9' TERM; echo up; while read x; do :; done; while :; do sleep 0.01; done"
    program = await box.start(ProgramSpec(["sh", "-c", line]))
    output = program.output()
    assert await anext(output) == (False, b"up\n")
    await program.signal(15)
    assert [each async for each in output] == [(False, b"bye\n")]
    assert await program.wait() == 9
    await program.signal(9)
    await program.close()
    # What is closed is killed.
    program = await box.start(ProgramSpec(["sh", "-c", "echo up; exec sleep 1234.5"]))
    assert await anext(program.output()) == (False, b"up\n")
    await program.close()

    async def is_gone() -> bool:
        return b"1234.5" not in (await ran(box, "sh", "-c", "cat /proc/[0-9]*/cmdline"))[1]

    await _until(is_gone)


async def _files(box: Box) -> None:
    assert await box.write_file("a/b.txt", b"hello", 0, executable=False) == 5
    assert await box.write_file("a/b.txt", b"HELLO!", 5, executable=False) == 11
    assert await box.read_file("a/b.txt", 3, 4) == (b"loHE", 11)
    await box.write_file("run", b"#!/bin/sh\necho ran\n", 0, executable=True)
    assert (await ran(box, "/work/run"))[1] == b"ran\n"
    files, more = await box.list_files("", 10)
    assert ([(each.name, each.kind) for each in files], more) == ([("a", "folder"), ("run", "file")], False)
    assert (await box.list_files("", 1))[1]
    await box.remove_file("run")
    for call in (box.read_file("run", 0, 1), box.list_files("nosuch", 1), box.remove_file("run")):
        with pytest.raises(BoxError) as none:
            await call
        assert none.value.code == grpc.StatusCode.NOT_FOUND
    # The disk has an end.
    with pytest.raises(BoxError) as full:
        await box.write_file("much", b"x" * (5 << 20), 0, executable=False)
    assert full.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    await box.remove_file("much")


async def _ports(box: Box) -> None:
    with pytest.raises(BoxError) as none:
        await box.connect(8080)
    assert none.value.code == grpc.StatusCode.UNAVAILABLE
    server = await box.start(ProgramSpec(["python3", "-c", SERVER]))
    assert await anext(server.output()) == (False, b"up\n")
    connection = await box.connect(8080)
    await connection.write(b"abc")
    await connection.end_input()
    told = b""
    while data := await connection.read():
        told += data
    assert told == b"cba"
    await connection.close()
    await server.close()


async def _pauses(box: Box) -> None:
    program = await box.start(ProgramSpec(["sh", "-c", "while echo x; do sleep 0.01; done"]))
    output = program.output()
    await anext(output)
    await box.pause()
    # What was on its way arrives.
    silent = False
    ends_at_s = time.monotonic() + 5
    reading = asyncio.ensure_future(anext(output))
    while not silent and time.monotonic() < ends_at_s:
        done, _ = await asyncio.wait({reading}, timeout=0.1)
        silent = not done
        if done:
            reading = asyncio.ensure_future(anext(output))
    assert silent
    await box.resume()
    assert (await reading)[1]
    await program.close()


async def _packs(box: Box, provider: Provider) -> None:
    other = await provider.create(SMALL)
    try:
        await other.unpack(box.pack())
        assert (await other.read_file("a/b.txt", 0, 100))[0] == b"helloHELLO!"
        assert await other.write_file("a/b.txt", b"x", 0, executable=False) == 1
        assert (await box.read_file("a/b.txt", 0, 100))[1] == 11
    finally:
        await other.terminate("not needed")


async def _or_refuses(cannot: bool, check: Callable[[Box], Awaitable[None]], box: Box) -> None:
    if not cannot:
        await check(box)
        return
    for call in (box.pause, box.resume):
        with pytest.raises(BoxError) as refused:
            await call()
        assert refused.value.code == grpc.StatusCode.UNIMPLEMENTED
        assert "cannot" in refused.value.message


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    ends_at_s = time.monotonic() + 10
    while not await holds():
        assert time.monotonic() < ends_at_s
        await asyncio.sleep(0.02)
