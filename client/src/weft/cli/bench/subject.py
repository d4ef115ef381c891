"""What is measured: something that takes calls one after another and many at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

from weft.rpc.channel import client_options

METHOD = "weft.bench.v1.EchoService/Echo"
PAYLOAD = BytesValue(value=bytes(range(100)))


@dataclass(frozen=True, slots=True)
class Subject:
    """One column of the benchmark."""

    # What its figures' names begin with, such as "embedded_process".
    prefix: str
    # For people.
    title: str
    # One call, answered.
    call: Callable[[], Awaitable[object]]
    # That many calls at once, all answered.
    burst: Callable[[int], Awaitable[object]]
    # What its rate counts: "per_s" of calls, "tasks_per_s" of tasks.
    rate: str
    # Processes whose CPU a burst is charged with, by name.
    processes: Mapping[str, int] = field(default_factory=dict)


@asynccontextmanager
async def stock_caller(target: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Calls the method as any generated stub does, on a channel of its own."""
    options = client_options(own_connection=True)
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        method = channel.unary_unary(
            f"/{METHOD}",
            request_serializer=BytesValue.SerializeToString,
            response_deserializer=BytesValue.FromString,
        )

        async def call() -> None:
            answer = await method(PAYLOAD, timeout=30, wait_for_ready=True)
            assert answer == PAYLOAD

        yield call
