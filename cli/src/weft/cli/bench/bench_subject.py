"""A subject of the benchmark: it takes single calls and bursts of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.security.channel_credentials import channel_security
from weft.rpc.security.tls import Tls

METHOD = "weft.bench.v1.EchoService/Echo"
# The same with rules for its request and response.
RULED_METHOD = "weft.bench.v1.RuledService/Echo"
# The same method of a stock server behind a sidecar.
APP_METHOD = "weft.bench.v1.AppService/Echo"
PAYLOAD = BytesValue(value=bytes(range(100)))

_IN_FLIGHT = 64

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class BenchSubject:
    """One subject: a row of the table."""

    # The prefix of its keys in the JSON, such as "embedded_process".
    prefix: str
    # Its name in the table.
    title: str
    # Makes one call and waits for its response.
    call: Call
    # Makes that many calls at once and waits for all responses.
    burst: Callable[[int], Awaitable[object]]
    # The unit of its rate: "per_s" for calls, "tasks_per_s" for tasks.
    rate: str
    # Processes whose CPU time is measured in bursts: pids by name.
    processes: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts_calls(self) -> bool:
        """Whether its rate can be compared with the rate of plain calls."""
        return self.rate == "per_s"


def caller(channel: grpc.aio.Channel, method: str) -> Call:
    """Returns a function that calls the method as a generated stub does."""
    callee = channel.unary_unary(
        f"/{method}",
        request_serializer=BytesValue.SerializeToString,
        response_deserializer=BytesValue.FromString,
    )

    async def call() -> None:
        answer = await callee(PAYLOAD, timeout=30, wait_for_ready=True)
        assert answer == PAYLOAD

    return call


@asynccontextmanager
async def stock_caller(target: str, method: str = METHOD, *, tls: Tls | None = None) -> AsyncIterator[Call]:
    """A caller of the method on a stock channel of its own."""
    route = Route(security=channel_security(tls))
    async with dial(target, client_options(own_connection=True), route) as channel:
        yield caller(channel, method)


def at_once(call: Call) -> Callable[[int], Awaitable[object]]:
    """Returns a function that makes bursts of this call, some calls at a time."""

    async def burst(count: int) -> None:
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                await call()

        await asyncio.gather(*(some() for _ in range(_IN_FLIGHT)))

    return burst
