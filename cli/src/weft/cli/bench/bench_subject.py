"""What is measured: something that takes calls one after another and many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

from weft.rpc.network.channel import client_options, dial

METHOD = "weft.bench.v1.EchoService/Echo"
# The same, of a stock server behind a sidecar.
APP_METHOD = "weft.bench.v1.AppService/Echo"
PAYLOAD = BytesValue(value=bytes(range(100)))

_IN_FLIGHT = 64

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class BenchSubject:
    """One column of the benchmark."""

    # What its figures' names begin with, such as "embedded_process".
    prefix: str
    # For people.
    title: str
    # One call, answered.
    call: Call
    # That many calls at once, all answered.
    burst: Callable[[int], Awaitable[object]]
    # What its rate counts: "per_s" of calls, "tasks_per_s" of tasks.
    rate: str
    # Processes whose CPU a burst is charged with, by name.
    processes: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts_calls(self) -> bool:
        """Whether its rate can be compared to that of plain calls."""
        return self.rate == "per_s"


def caller(channel: grpc.aio.Channel, method: str) -> Call:
    """Calls the method as any generated stub does."""
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
async def stock_caller(target: str, method: str = METHOD) -> AsyncIterator[Call]:
    """Calls it on a stock channel of its own."""
    async with dial(target, client_options(own_connection=True)) as channel:
        yield caller(channel, method)


def at_once(call: Call) -> Callable[[int], Awaitable[object]]:
    """Bursts of this call: so many of them, some at a time."""

    async def burst(count: int) -> None:
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                await call()

        await asyncio.gather(*(some() for _ in range(_IN_FLIGHT)))

    return burst
