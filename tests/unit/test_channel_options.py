"""The options of all channels and servers of weft: bounds at which gRPC acts at random, and peers that ping or do not
read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from weft.agent.sidecar.app import App
from weft.rpc.network.channel import MAX_METADATA_BYTES, client_options, dial, server_options

KIB = 1024


class Mirror(grpc.GenericRpcHandler):
    """Sends as much metadata as it is asked for; waits where it is asked to."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            size_bytes, wait_s = request.split()
            context.set_trailing_metadata((("x-large", "x" * int(size_bytes)),))
            await asyncio.sleep(float(wait_s))
            return b"x"

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers((Mirror(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def _read(_channel: Any) -> Any:
    raise AssertionError("nobody asks")


# Every channel that weft makes has the options of one of these.
CHANNELS = {
    "any": lambda address: dial(address, client_options(own_connection=True)),
    "app": lambda address: App(address, _read, lambda: None, 4 * KIB * KIB).channel,
}


@pytest.mark.parametrize("kind", CHANNELS)
async def test_metadata_is_never_refused_at_random(kind: str) -> None:
    ends: Counter[str] = Counter()
    async with served() as address, CHANNELS[kind](address) as channel:
        call = channel.unary_unary("/a.B/C")
        for size_bytes in (4 * KIB, 9 * KIB, 15 * KIB, 17 * KIB, 64 * KIB, 500 * KIB):
            for up, down in ((size_bytes, 0), (0, size_bytes)):
                for _ in range(10 if size_bytes < 20 * KIB else 2):
                    await call(f"{down} 0".encode(), timeout=10, metadata=(("x-large", "x" * up),))
                    ends["OK"] += 1
        # Beyond the bound always, and by name.
        for up, down in ((MAX_METADATA_BYTES, 0), (0, MAX_METADATA_BYTES)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(f"{down} 0".encode(), timeout=10, metadata=(("x-large", "x" * up),))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "metadata" in (caught.value.details() or "")
    assert ends == {"OK": 88}


async def test_a_client_that_pings_all_the_time_keeps_its_call() -> None:
    often = [
        ("grpc.keepalive_time_ms", 200),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with served() as address, grpc.aio.insecure_channel(address, options=often) as channel:
        # Three pings without data were enough.
        assert await channel.unary_unary("/a.B/C")(b"0 2", timeout=20) == b"x"


@pytest.mark.parametrize("stalled_s", [1.0, 30.0, 3600.0])
def test_a_connection_outlives_the_wait_for_its_reader(stalled_s: float) -> None:
    options = dict(server_options(stalled_s=stalled_s))
    assert int(options["grpc.keepalive_timeout_ms"]) > stalled_s * 1000
