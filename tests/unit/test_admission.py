"""Admission: calls beyond the bound are refused."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_status import rpc_status

from weft.coordinator.calls.call_options import is_urgent
from weft.rpc import errors
from weft.rpc.calls.admission import Admission
from weft.rpc.network.channel import server_options


async def test_calls_beyond_the_bound_are_refused_by_name_and_told_to_come_again():
    admission = Admission(3, "the setting max_calls")
    release = asyncio.Event()

    async def wait(request: bytes, context: Any) -> bytes:
        await release.wait()
        return request

    class Everything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return admission.bounded(grpc.unary_unary_rpc_method_handler(wait))

    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers((Everything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/a.B/C")
            running = [call(b"x", timeout=30) for _ in range(3)]
            while admission.calls < 3:
                await asyncio.sleep(0.01)
            for _ in range(5):
                error = await _failure(call(b"x", timeout=30))
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "max_calls" in (error.details() or "")
                status = rpc_status.from_call(error)  # type: ignore[arg-type]
                assert errors.retry_after_s(status) == 1.0
            release.set()
            assert [await each for each in running] == [b"x"] * 3
            assert await call(b"y", timeout=30) == b"y"
            assert (admission.calls, admission.refused) == (0, 5)
    finally:
        await server.stop(None)


async def _failure(call: Any) -> grpc.aio.AioRpcError:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("it was taken")


async def test_a_tenth_more_is_for_urgent_calls() -> None:
    admission = Admission(20, "the setting max_calls", is_urgent)
    release = asyncio.Event()

    class Call:
        def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
            self._metadata = metadata

        def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
            return self._metadata

        async def abort(self, *_: object) -> None:
            raise grpc.aio.AbortError

    async def wait(_: bytes, __: Any) -> None:
        await release.wait()

    behaviour = admission.bounded(grpc.unary_unary_rpc_method_handler(wait)).unary_unary
    assert behaviour is not None
    taken = [asyncio.create_task(behaviour(b"", Call())) for _ in range(20)]
    urgent = Call(("weft-mode", "durable"), ("weft-priority", "6"))
    for call in (Call(), Call(("weft-priority", "5")), Call(("weft-priority", "high"), ("x", "9")), urgent):
        await asyncio.sleep(0)
        if call is urgent:
            taken += [asyncio.create_task(behaviour(b"", call)) for _ in range(2)]
            await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AbortError):
            await behaviour(b"", call)
    assert (admission.calls, admission.refused) == (22, 4)
    release.set()
    await asyncio.gather(*taken)
    assert admission.calls == 0
