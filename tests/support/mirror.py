"""The mirror service: a stock grpc.aio servicer without weft, which answers with its view of a call.

`python -m tests.support.mirror ADDRESS_FILE [ADDRESS]` serves it plainly; `tests.support.mirror_agent:agent` hosts it.
`mirror.proto` has the meaning of every field.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parent / "gen"))

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from mirror.v1 import mirror_pb2, mirror_pb2_grpc
from tests.support import deep

Context = grpc.aio.ServicerContext
SERVICE = "mirror.v1.MirrorService"


class Mirror(mirror_pb2_grpc.MirrorServiceServicer):
    """All four shapes."""

    async def Unary(self, request: mirror_pb2.Ask, context: Context) -> mirror_pb2.Answer:
        async with Play(request, context) as play:
            answer = play.answer(request, 1)
            await play.end()
        return answer

    async def Down(self, request: mirror_pb2.Ask, context: Context) -> AsyncIterator[mirror_pb2.Answer]:
        async with Play(request, context) as play:
            for _ in range(request.answers):
                yield play.answer(request, 1)
            await play.end()

    async def Up(self, request_iterator: AsyncIterator[mirror_pb2.Ask], context: Context) -> Any:
        first = await anext(request_iterator, mirror_pb2.Ask())
        async with Play(first, context) as play:
            texts = [text async for text in _texts(first, request_iterator, play)]
            answer = play.answer(mirror_pb2.Ask(text=" ".join(texts), blob=first.blob), len(texts))
            await play.end()
        return answer

    async def Both(
        self, request_iterator: AsyncIterator[mirror_pb2.Ask], context: Context
    ) -> AsyncIterator[mirror_pb2.Answer]:
        first = await anext(request_iterator, mirror_pb2.Ask())
        async with Play(first, context) as play:
            count = 0
            async for text in _texts(first, request_iterator, play):
                count += 1
                yield play.answer(mirror_pb2.Ask(text=text, blob=first.blob), count)
            for _ in range(first.answers):
                yield play.answer(first, count)
            await play.end()


async def _texts(
    first: mirror_pb2.Ask, others: AsyncIterator[mirror_pb2.Ask], play: Play
) -> AsyncIterator[str]:
    if first == mirror_pb2.Ask():
        return
    yield first.text
    count = 1
    while count != first.stop_after:
        request = await anext(others, None)
        if request is None:
            note(first, "read")
            return
        count += 1
        yield request.text


class Play:
    """A call, played as its first request says."""

    def __init__(self, ask: mirror_pb2.Ask, context: Context) -> None:
        self._ask = ask
        self._context = context
        self._count = 0

    async def __aenter__(self) -> Self:
        ask, context = self._ask, self._context
        note(ask, "start")
        if ask.gzip:
            context.set_compression(grpc.Compression.Gzip)
        if ask.headers_first or ask.headers:
            await context.send_initial_metadata(_pairs(ask.headers))
        context.set_trailing_metadata(_pairs(ask.trailers))
        if ask.wait_s:
            try:
                await asyncio.sleep(ask.wait_s)
            except asyncio.CancelledError:
                note(ask, "cancelled")
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, (asyncio.CancelledError, GeneratorExit)):
            note(self._ask, "cancelled")

    def answer(self, request: mirror_pb2.Ask, requests: int) -> mirror_pb2.Answer:
        left_s = self._context.time_remaining()
        answer = mirror_pb2.Answer(
            text=request.text,
            blob=bytes(self._ask.answer_bytes) or request.blob,
            index=self._count,
            time_left_s=-1.0 if left_s is None else left_s,
            requests=requests,
            depth=deep.depth(self._ask),
        )
        if self._ask.answer_depth:
            deep.nest(answer, self._ask.answer_depth)
        for key, value in self._context.invocation_metadata() or ():
            answer.seen.add(key=key, value=value if isinstance(value, bytes) else value.encode())
        self._count += 1
        return answer

    async def end(self) -> None:
        ask = self._ask
        if ask.linger_s:
            await asyncio.sleep(ask.linger_s)
        if ask.raise_text:
            raise RuntimeError(ask.raise_text)
        note(ask, "end")
        if ask.reason:
            await self._context.abort_with_status(_status(ask))
        if ask.code:
            codes = {code.value[0]: code for code in grpc.StatusCode}
            await self._context.abort(codes[ask.code], ask.message)


def _pairs(entries: Any) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(
        (entry.key, entry.value if entry.key.endswith("-bin") else entry.value.decode()) for entry in entries
    )


def _status(ask: mirror_pb2.Ask) -> Any:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=ask.reason, domain="mirror"))
    return rpc_status.to_status(status_pb2.Status(code=ask.code, message=ask.message, details=[detail]))


def note(ask: mirror_pb2.Ask, what: str) -> None:
    """A line in the ledger; one write, so that lines of several processes do not mix."""
    if not ask.ledger:
        return
    line = f"{what} {ask.text} 0 mirror {time.time():.6f}\n"
    descriptor = os.open(ask.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


async def serve(address_file: Path, address: str) -> None:
    """A stock server with reflection and health, until it is killed."""
    # As an app in another language.
    deep.lift()
    server = grpc.aio.server()
    mirror_pb2_grpc.add_MirrorServiceServicer_to_server(Mirror(), server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in ("", SERVICE):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port(address)
    await server.start()
    part = address_file.with_suffix(".part")
    part.write_text(f"{address.rpartition(':')[0]}:{port}")
    part.replace(address_file)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:0"))
