"""A coordinator that asks for tokens, in the test's own process, and calls to it with any token."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc._cython import cygrpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from weft.coordinator.fleet.service_health import OWN_SERVICES
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.errors import WeftError, from_call
from weft.rpc.network.channel import dial
from weft.v1 import security_pb2
from weft.v1.security_pb2_grpc import TokenServiceStub

# Its type stubs do not know its errors.
_cygrpc: Any = cygrpc
Pairs = tuple[tuple[str, str | bytes], ...]
RPCS = [
    f"/{service}/{method}"
    for service in sorted(filter(None, OWN_SERVICES))
    for method in descriptor_pool.Default().FindServiceByName(service).methods_by_name
]
OTHERS = [
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/acme.v1.Nothing/There",
]
DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class Door:
    """A coordinator that asks for tokens, and a channel to it."""

    def __init__(self, coordinator: Coordinator, operator: str) -> None:
        self.coordinator = coordinator
        self.operator = operator
        self.channel = dial(coordinator.address)
        self.stub = TokenServiceStub(self.channel)
        self._open = True

    async def stop(self) -> None:
        if self._open:
            self._open = False
            await self.coordinator.stop(0.0)

    async def create(self, role: int, **fields: Any) -> security_pb2.CreateTokenResponse:
        request = security_pb2.CreateTokenRequest(role=role, **fields)
        made: security_pb2.CreateTokenResponse = await self.stub.CreateToken(
            request, metadata=shown(self.operator)
        )
        return made

    async def wait_serving(self, service: str = "probe.v1.ProbeService") -> None:
        """Until some agent can take calls of a hosted service."""
        stub, request = HealthStub(self.channel), HealthCheckRequest(service=service)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await stub.Check(request, metadata=shown(self.operator), timeout=10)
                    if answer.status == HealthCheckResponse.SERVING:
                        return
                await asyncio.sleep(0.02)

    async def call(self, path: str, pairs: Pairs, timeout_s: float = 20.0) -> WeftError | None:
        """The error of a call with an empty request. None: it succeeded."""
        return await called(self.channel, path, pairs, timeout_s)


async def called(
    channel: grpc.aio.Channel, path: str, pairs: Pairs, timeout_s: float = 20.0
) -> WeftError | None:
    """The error of a call with an empty request. None: it succeeded. It is made again where grpc.aio keeps its end to itself."""
    error = None
    for _ in range(5):
        error = await called_once(channel, path, pairs, timeout_s)
        # That is all it says if a call ends while a message is sent.
        if error is None or "Internal error from Core" not in str(error):
            break
    return error


async def called_once(
    channel: grpc.aio.Channel, path: str, pairs: Pairs, timeout_s: float = 20.0
) -> WeftError | None:
    """As `called`, but made once, and with whatever error."""
    call = channel.stream_stream(path)(metadata=pairs, timeout=timeout_s)
    try:
        await call.write(b"")
        await call.done_writing()
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return from_call(error)
    except (asyncio.InvalidStateError, _cygrpc.ExecuteBatchError):
        # It ended before everything was sent.
        pass
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return None
    return from_call(
        grpc.aio.AioRpcError(code, None, await call.trailing_metadata(), await call.details())  # type: ignore[arg-type]
    )


def shown(text: str) -> Pairs:
    return (("weft-token", text),)


def reason(error: WeftError | None) -> str:
    """The reason's name; "": no error; what else it says, if it has no reason."""
    if error is None:
        return ""
    return error.reason_name if error.reason else f"{error!r}, without a reason"


@contextlib.asynccontextmanager
async def token_door(folder: Path, **settings: Any) -> AsyncIterator[Door]:
    """A coordinator with its store in a folder, and its first operator's token."""
    given: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "store": str(folder / "weft.db"),
        "tokens": "on",
        **settings,
    }
    coordinator = Coordinator(CoordinatorSettings(address_file=folder / "address", **given))
    await coordinator.start()
    file = folder / "address.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    door = Door(coordinator, file.read_text().strip())
    try:
        yield door
    finally:
        await door.channel.close()
        await door.stop()
