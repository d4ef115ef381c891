"""The fault proxy does to a connection what the tests of faults believe that it does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.fault_proxy import Direction, FaultProxy
from tests.support.processes import until

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with FaultProxy(f"{host}:{port}") as proxy:
        yield proxy
    server.close()


async def dial(proxy: FaultProxy) -> Ends:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def ask(ends: Ends, text: bytes = b"hello") -> bytes:
    reader, writer = ends
    writer.write(text)
    async with asyncio.timeout(5):
        return await reader.readexactly(len(text))


async def is_silent(ends: Ends) -> bool:
    try:
        async with asyncio.timeout(0.2):
            await ends[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_it_passes_everything_on(proxy: FaultProxy) -> None:
    ends = await dial(proxy)
    assert await ask(ends) == b"hello"
    # More than all buffers of the way together hold.
    large = bytes(range(256)) * 100_000
    assert await ask(ends, large) == large
    ends[1].close()
    await until(lambda: proxy.connections == 0, "the connection is gone")


async def test_a_cut_closes_and_refuses_and_heals_on_the_same_port(proxy: FaultProxy) -> None:
    ends = await dial(proxy)
    await ask(ends)
    await proxy.cut()
    with contextlib.suppress(ConnectionResetError):
        assert await ends[0].read(1) == b""
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await dial(proxy)
    await proxy.heal()
    assert await ask(await dial(proxy)) == b"hello"


async def test_a_black_hole_takes_all_and_gives_it_late(proxy: FaultProxy) -> None:
    old = await dial(proxy)
    await ask(old)
    await proxy.blackhole()
    new = await dial(proxy)
    for ends in (old, new):
        ends[1].write(b"hello")
        assert await is_silent(ends)
    await proxy.heal()
    for ends in (old, new):
        async with asyncio.timeout(5):
            assert await ends[0].readexactly(5) == b"hello"


async def test_a_close_does_not_pass_a_black_hole(proxy: FaultProxy) -> None:
    ends = await dial(proxy)
    await ask(ends)
    await proxy.blackhole()
    ends[1].close()
    await ends[1].wait_closed()
    assert proxy.connections == 1
    await proxy.heal()
    await until(lambda: proxy.connections == 0, "the close has passed")


async def test_a_black_hole_holds_no_more_than_its_bound(proxy: FaultProxy) -> None:
    ends = await dial(proxy)
    await ask(ends)
    await proxy.blackhole()
    ends[1].write(bytes(64 * 1024 * 1024))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await ends[1].drain()
    await proxy.cut()


@pytest.mark.parametrize(("direction", "delay_s"), [("up", 0.2), ("down", 0.2), (None, 0.4)])
async def test_slow_is_a_delay_and_no_limit(
    proxy: FaultProxy, direction: Direction | None, delay_s: float
) -> None:
    ends = await dial(proxy)
    await ask(ends)
    await proxy.slow(0.2, direction)
    began = time.monotonic()
    for number in range(20):
        ends[1].write(b"%2d" % number)
    async with asyncio.timeout(5):
        assert await ends[0].readexactly(40) == b"".join(b"%2d" % number for number in range(20))
    assert delay_s <= time.monotonic() - began < delay_s + 2

    await proxy.slow(60)
    ends[1].write(b"held")
    assert await is_silent(ends)
    await proxy.heal()
    async with asyncio.timeout(5):
        assert await ends[0].readexactly(4) == b"held"


async def test_a_target_that_is_gone_closes_the_connection() -> None:
    async with FaultProxy("127.0.0.1:1") as proxy, asyncio.timeout(5):
        ends = await dial(proxy)
        assert await ends[0].read(1) == b""
