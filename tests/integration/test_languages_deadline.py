"""An app in Go behind a sidecar sees its own deadline pass, and is not cancelled before.

Which of its two words for that an app in Go then hears, "deadline exceeded" or "canceled", its own library draws by lot: a timer of
the context's and one of the stream's fire together. Called straight, it also hears its caller's reset, up to some ms early.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from tests.support.beside import free_address
from tests.support.languages import Go
from tests.support.mesh import MeshHarness
from tests.support.processes import Process
from weft.rpc.network.channel import client_options, dial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

METHOD = "/greeter.v1.GreeterService/Greet"
TIMEOUT_S = 1.0
CALLS = 50


async def test_the_app_sees_its_own_deadline(mesh: MeshHarness, tmp_path: Path) -> None:
    reasons, app_address = tmp_path / "reasons", free_address()
    app = Process("app", Go().waiting(app_address, reasons), log=tmp_path / "app.log")
    await mesh.coordinator()
    sidecar = Process.weft(
        "sidecar",
        "agent",
        *(
            "--app",
            app_address,
            "--egress",
            "off",
            "--target",
            mesh.target,
            "--id",
            "sidecar",
            "--slots",
            "200",
        ),
        log=tmp_path / "sidecar.log",
    )
    try:
        await mesh.wait_serving("greeter.v1.GreeterService")
        for way in ("straight", "direct", "durable"):
            await call(app_address if way == "straight" else mesh.target, way)

        async def all_ended() -> bool:
            return reasons.exists() and len(reasons.read_text().splitlines()) == 3 * CALLS

        await mesh.eventually(all_ended, "the app has seen the end of each call")
        for way in ("direct", "durable"):
            found = [line for line in reasons.read_text().splitlines() if line.startswith(f"{way} ")]
            early = [line for line in found if int(line.split()[-5]) > 0]
            assert len(found) == CALLS
            assert not early
    finally:
        sidecar.cleanup()
        app.cleanup()


async def call(target: str, way: str) -> None:
    """Call some times at once; every call ends by its deadline.

    Each call has its own name, which begins with the way: few greetings of one name start in a second.
    """
    names = [f"{way} {number}".encode() for number in range(CALLS)]
    metadata = [] if way == "straight" else [("weft-mode", way)]
    async with dial(target, client_options()) as channel:
        greet = channel.unary_unary(METHOD)
        calls = [
            greet(b"\x0a" + bytes([len(name)]) + name, timeout=TIMEOUT_S, metadata=metadata) for name in names
        ]
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(ended, grpc.aio.AioRpcError)
            # Called straight, a Go server resets its streams at the deadline, and that may arrive before the caller's own timer fires.
            may_be_reset = {grpc.StatusCode.CANCELLED} if way == "straight" else set()
            assert ended.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, *may_be_reset}, way
