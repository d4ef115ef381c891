"""What a relay tells of the calls that it has passed on, as metrics have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from tests.support.scraped import Scraped
from weft.rpc.calls import relay
from weft.rpc.network.channel import client_options, server_options
from weft.rpc.telemetry.call_figures import MOST_MADE, CallFigures
from weft.rpc.telemetry.figures import OTHER, Figures
from weft.v1 import fleet_pb2

NAME = "rpc_client_call_duration_seconds_count"
KINDS = {"unary_unary": fleet_pb2.METHOD_KIND_UNARY, "unary_stream": fleet_pb2.METHOD_KIND_SERVER_STREAMING}


class Callee(grpc.GenericRpcHandler):
    """Does what its methods' names say, in both shapes."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        service, _, name = handler_call_details.method[1:].partition("/")

        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            if name == "Fail":
                await context.abort(grpc.StatusCode.NOT_FOUND, "as asked")
            if name == "Wait":
                await asyncio.Event().wait()
            if service == "unary_stream":
                await context.write(request)
            return request

        make = getattr(grpc, f"{service}_rpc_method_handler")
        made: grpc.RpcMethodHandler = make(answer)
        return made


class Passing(grpc.GenericRpcHandler):
    def __init__(self, channel: grpc.aio.Channel, figures: CallFigures) -> None:
        self._channel = channel
        self._figures = figures

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        path = handler_call_details.method
        kind = KINDS[path[1:].partition("/")[0]]
        return relay.handler(self._channel, path, kind, observe=self._figures.observe)


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
async def channel(figures: Figures) -> AsyncIterator[grpc.aio.Channel]:
    callee, passing = (grpc.aio.server(options=server_options()) for _ in range(2))
    callee.add_generic_rpc_handlers((Callee(),))
    port = callee.add_insecure_port("127.0.0.1:0")
    await callee.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=client_options()) as onward:
        passing.add_generic_rpc_handlers((Passing(onward, CallFigures(figures, made=True)),))
        port = passing.add_insecure_port("127.0.0.1:0")
        await passing.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=client_options()) as made:
            yield made
        await passing.stop(None)
    await callee.stop(None)


@pytest.mark.parametrize("shape", KINDS)
async def test_each_end_is_counted(channel: grpc.aio.Channel, figures: Figures, shape: str) -> None:
    async def call(name: str, timeout_s: float = 20) -> None:
        made = getattr(channel, shape)(f"/{shape}/{name}")(b"x", timeout=timeout_s)
        if shape == "unary_unary":
            await made
        else:
            assert [each async for each in made]

    await call("Answer")
    await call("Answer")
    with pytest.raises(grpc.aio.AioRpcError):
        await call("Fail")
    waiting = asyncio.ensure_future(call("Wait"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    expected = {("Answer", "OK"): 2, ("Fail", "NOT_FOUND"): 1, ("Wait", "CANCELLED"): 1}
    async with asyncio.timeout(20):
        while True:
            found = Scraped.of(figures)
            counted = {
                (name, code): found.value(NAME, rpc_method=f"{shape}/{name}", rpc_response_status_code=code)
                for name, code in expected
            }
            if counted == expected:
                break
            await asyncio.sleep(0.01)


def test_the_labels_of_calls_made_are_bounded() -> None:
    figures = Figures()
    made = CallFigures(figures, made=True)
    for number in range(3 * MOST_MADE):
        made.observe(f"m{number}", 12, 0.1)
        made.observe(f"m{number}", 0, 0.1)
    found = Scraped.of(figures)
    # Calls of methods that there are not have no name.
    assert found.value(NAME, rpc_method=OTHER, rpc_response_status_code="UNIMPLEMENTED") == 3 * MOST_MADE
    assert found.series <= 17 * (MOST_MADE + 17)
