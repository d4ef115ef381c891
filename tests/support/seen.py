"""A stock client's view of a call, in a form that can be compared: without the parts that differ in every call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from mirror.v1 import mirror_pb2, mirror_pb2_grpc

Pairs = tuple[tuple[str, str | bytes], ...]
# Metadata keys of weft's own, in both directions.
_WEFT = ("weft-", "endpoint-load-metrics-bin", "traceparent", "tracestate", "user-agent")
ENOUGH_S = 30.0


@dataclass(frozen=True)
class Seen:
    """A call, as its caller saw it."""

    answers: list[tuple[str, int, int, int]] = field(default_factory=list)
    # The metadata that the servicer saw, by its last answer.
    metadata: Pairs = ()
    code: grpc.StatusCode | None = None
    message: str = ""
    reasons: tuple[str, ...] = ()
    headers: Pairs = ()
    trailers: Pairs = ()


def take_one(shape: str) -> bool:
    """Whether a method of this shape takes one request."""
    return shape in {"Unary", "Down"}


def start(
    stub: mirror_pb2_grpc.MirrorServiceStub, shape: str, asks: Sequence[mirror_pb2.Ask], **how: Any
) -> Any:
    """Begin a call of a shape on a sync or an aio stub."""
    method = getattr(stub, shape)
    return method(asks[0], **how) if take_one(shape) else method(iter(asks), **how)


async def see(
    stub: mirror_pb2_grpc.MirrorServiceStub, shape: str, asks: Sequence[mirror_pb2.Ask], **how: Any
) -> Seen:
    """Make a call on an aio stub, to its end."""
    async with asyncio.timeout(ENOUGH_S):
        return await watch(start(stub, shape, asks, **how))


async def watch(call: Any) -> Seen:
    """The view of an aio call that has begun."""
    answers: list[mirror_pb2.Answer] = []
    reasons: tuple[str, ...] = ()
    try:
        if hasattr(call, "__aiter__"):
            async for answer in call:
                answers.append(answer)
        else:
            answers.append(await call)
    except grpc.aio.AioRpcError as error:
        reasons = _reasons(rpc_status.from_call(error))  # type: ignore[arg-type]
    code = await call.code()
    return _seen(
        answers,
        code,
        await call.details(),
        reasons,
        await call.initial_metadata(),
        await call.trailing_metadata(),
    )


def see_sync(
    stub: mirror_pb2_grpc.MirrorServiceStub, shape: str, asks: Sequence[mirror_pb2.Ask], **how: Any
) -> Seen:
    """Make a call on a sync stub, to its end."""
    method = getattr(stub, shape)
    request: Any = asks[0] if take_one(shape) else iter(asks)
    how.setdefault("timeout", ENOUGH_S)
    answers: list[mirror_pb2.Answer] = []
    reasons: tuple[str, ...] = ()
    call: Any
    try:
        if shape in {"Unary", "Up"}:
            answer, call = method.with_call(request, **how)
            answers.append(answer)
        else:
            call = method(request, **how)
            for answer in call:
                answers.append(answer)
    except grpc.RpcError as error:
        call = error
        reasons = _reasons(rpc_status.from_call(error))  # type: ignore[arg-type]
    return _seen(
        answers, call.code(), call.details(), reasons, call.initial_metadata(), call.trailing_metadata()
    )


def _seen(
    answers: Sequence[mirror_pb2.Answer],
    code: grpc.StatusCode,
    message: str | None,
    reasons: tuple[str, ...],
    headers: Any,
    trailers: Any,
) -> Seen:
    seen = [(entry.key, entry.value) for entry in answers[-1].seen] if answers else []
    return Seen(
        answers=[(answer.text, len(answer.blob), answer.index, answer.requests) for answer in answers],
        metadata=_own(seen),
        code=code,
        message=message or "",
        reasons=reasons,
        headers=_own(headers or ()),
        trailers=_own(trailers or ()),
    )


def _own(pairs: Iterable[Any]) -> Pairs:
    """The application's entries by key; of equal keys the order is kept, and nobody promises more."""
    own = [(key, value) for key, value in pairs if not key.startswith(_WEFT)]
    return tuple(sorted(own, key=lambda pair: str(pair[0])))


def _reasons(status: Any) -> tuple[str, ...]:
    reasons = []
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        assert detail.Unpack(info)
        reasons.append(info.reason)
    return tuple(reasons)
