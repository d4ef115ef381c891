"""The payloads of tasks, coded where they are submitted and decoded where they are read."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from contextlib import suppress
from operator import itemgetter
from typing import Any

from google.protobuf.message import Message

from weft.client.bulk_source import BulkSource
from weft.client.methods import Method
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.payloads import coded_failure
from weft.rpc.payloads.envelope import is_coded, opened
from weft.rpc.payloads.payload_coder import REQUEST, RESPONSE, PayloadCoder
from weft.v1 import task_pb2


def serialized(method: Method[Any, Any], request: Any) -> bytes:
    """A request as bytes that are the same for equal requests."""
    if isinstance(request, Message):
        return request.SerializeToString(deterministic=True)
    return method.serialize(request)


async def coded_request(
    coder: PayloadCoder | None, method: Method[Any, Any], request: Any, *, store: bool = True
) -> bytes:
    """The payload of a request.

    Args:
        store: a large one may go into the store of payloads.
    """
    if coder is None:
        return method.serialize(request)
    return await coder.encode_async(serialized(method, request), REQUEST, method.name, store=store)


def coded_source(
    coder: PayloadCoder,
    method: Method[Any, Any],
    requests: Iterable[Any] | AsyncIterable[Any],
    request_id: Callable[[Any], str] | None,
) -> BulkSource[Any]:
    """The source of a bulk, whose requests are coded as they are taken."""
    own_id = None if request_id is None else (lambda pair: request_id(pair[0]))
    payloads = Method(method.name, itemgetter(1), method.parse, method.streaming)
    return BulkSource(payloads, coded_pairs(coder, method, requests), own_id)


async def coded_pairs(
    coder: PayloadCoder, method: Method[Any, Any], requests: Iterable[Any] | AsyncIterable[Any]
) -> AsyncIterator[tuple[Any, bytes]]:
    """Each request with its payload."""
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request, await coded_request(coder, method, request)
    else:
        for request in requests:
            yield request, await coded_request(coder, method, request)


async def decode_task(coder: PayloadCoder, task: task_pb2.Task, method: str = "") -> None:
    """Decode a task's request, response and failure, in place. What cannot be decoded stays as it is; if that is the result, the
    task has the error in place of its status."""
    outcome = task.outcome
    asked, ran = _names(task, method)
    if is_coded(task.payload):
        # It is the caller's own, who may not need it.
        with suppress(WeftError):
            task.payload = await coder.decode_async(task.payload, REQUEST, asked)
    try:
        if task.state == task_pb2.TASK_STATE_SUCCEEDED:
            _check_required(coder, outcome.response, asked[0])
        if is_coded(outcome.response):
            outcome.response = await coder.decode_async(outcome.response, RESPONSE, ran)
        elif outcome.status.code and (failure := coded_failure.decoded(coder, outcome.status, ran)):
            outcome.status.CopyFrom(failure.status)
            if failure.HasField("error"):
                outcome.error.CopyFrom(failure.error)
    except WeftError as error:
        outcome.status.CopyFrom(error.status())


async def decode_request(coder: PayloadCoder, payload: bytes, method: str) -> bytes:
    """A request; what cannot be decoded stays as it is."""
    with suppress(WeftError):
        if is_coded(payload):
            return await coder.decode_async(payload, REQUEST, (method,))
    return payload


async def decode_response(coder: PayloadCoder, payload: bytes, methods: Collection[str]) -> bytes:
    """One response of a stream."""
    _check_required(coder, payload, next(iter(methods)))
    return await coder.decode_async(payload, RESPONSE, methods) if is_coded(payload) else payload


def _check_required(coder: PayloadCoder, response: bytes, method: str) -> None:
    # The unary result of a stream is empty, and so is what a list leaves out.
    if coder.options.required and response and not is_coded(response):
        raise refusals.payload_coded(
            f"a response of {method} is not coded, and must be (Payloads(required=True)): whoever made it has no keys",
            method,
        )


def check_decoded(payload: bytes, method: str) -> None:
    """Refuse a response that is coded still.

    Raises:
        FailedPrecondition: this program has no coder (PAYLOAD_CODED).
    """
    if is_coded(payload):
        raise refusals.payload_coded(
            f"the response of {method} is coded ({opened(payload).told()}), and this client codes nothing:"
            " connect(payloads=…), or WEFT_PAYLOAD_KEYS_FILE, gives it the keys",
            method,
        )


def _names(task: task_pb2.Task, method: str) -> tuple[tuple[str], Collection[str]]:
    """The methods that its request, and its outcome, may be of."""
    asked = task.fallback_of or task.method or method
    return (asked,), {asked, task.method, task.outcome.fallback} - {""}
