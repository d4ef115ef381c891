"""Checks of refused calls: a gRPC code, weft's reason, and the wrong field, if there is one."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from weft.rpc.errors import DOMAIN, error_info, status_code, status_of_call


async def refused(call: Awaitable[Any]) -> status_pb2.Status:
    """The status of a call that must fail. A stream is read until it does."""
    try:
        if isinstance(call, grpc.aio.UnaryStreamCall | grpc.aio.StreamStreamCall):
            answer: object = [message async for message in call]
        else:
            answer = await call
    except grpc.aio.AioRpcError as error:
        return status_of_call(error)
    raise AssertionError(f"it was not refused, but answered {answer}")


def check(status: status_pb2.Status, code: grpc.StatusCode, reason: str, field: str | None = None) -> None:
    """Fail unless the status has this code and weft's own reason; with `field`, also names that field."""
    info = error_info(status)
    assert info is not None, f"no ErrorInfo: {status}"
    found = (status_code(status.code), info.domain, info.reason)
    assert found == (code, DOMAIN, reason), status
    assert status.message, "an error says what is wrong"
    if field is not None:
        assert field in violations(status), status


def violations(status: status_pb2.Status) -> list[str]:
    """The fields that the status' BadRequest names."""
    named = error_details_pb2.BadRequest()
    return [
        violation.field
        for detail in status.details
        if detail.Unpack(named)
        for violation in named.field_violations
    ]


def retry_delay_s(status: status_pb2.Status) -> float | None:
    """The delay of the status' RetryInfo; None: it has none."""
    info = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info.retry_delay.ToMilliseconds() / 1000
    return None
