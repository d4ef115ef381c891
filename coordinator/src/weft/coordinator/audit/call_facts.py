"""What the audit tells of a call: on what it was, where it came from, how it ended. Pure."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc import aio

from weft.coordinator.audit.audit_event import MAX_DETAILS, Details
from weft.rpc.errors import STATUS_DETAILS_KEY, WeftError, error_info, reason_name
from weft.v1 import errors_pb2

# Of a call of a method that nobody knows: its name is the caller's invention.
METHOD_UNKNOWN = reason_name(errors_pb2.ERROR_REASON_METHOD_UNKNOWN)

# Fields of requests that say on what something is done. Others could hold payloads or secrets.
_NAMES = frozenset(
    {
        "id",
        "task_id",
        "task_ids",
        "agent_id",
        "agent_ids",
        "name",
        "names",
        "method",
        "group",
        "queue",
        "namespace",
        "lock",
        "resource",
        "comment",
        "kind",
        "level",
        "remove",
    }
)
# Maps that do so.
_LABELS = frozenset({"labels", "set"})
# Of a repeated field.
_SHOWN = 5
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def details_of(request: Message) -> Details:
    """On what a request is: its ids and names, the states that it sets, and which of several things it asks for."""
    found: list[tuple[str, str]] = []
    for field, value in request.ListFields():
        if field.containing_oneof is not None and len(field.containing_oneof.fields) > 1:
            found.append((field.containing_oneof.name, field.name))
        if field.message_type is not None and not field.is_repeated:
            inner = details_of(value) if field.message_type.file.package == "weft.v1" else ()
            found.extend((f"{field.name}.{name}", text) for name, text in inner)
        elif field.enum_type is not None and not field.is_repeated:
            number = field.enum_type.values_by_number.get(value)
            found.append((field.name, str(value) if number is None else number.name))
        elif field.type == field.TYPE_BOOL and not field.is_repeated:
            found.append((field.name, "true"))
        elif field.name in _LABELS and field.message_type is not None and field.is_repeated:
            found.append((field.name, _listed([f"{key}={value[key]}" for key in sorted(value)])))
        elif field.name in _NAMES and field.type == field.TYPE_STRING:
            found.append((field.name, _listed(value) if field.is_repeated else value))
        if len(found) >= MAX_DETAILS:
            break
    return tuple(found[:MAX_DETAILS])


def made_by(response: Message) -> Details:
    """The ids of what a call has made or changed."""
    made: list[tuple[str, str]] = []
    for field, value in response.ListFields():
        kind = None if field.is_repeated else field.message_type
        if kind is not None and "id" in kind.fields_by_name and value.id:
            made.append((f"{field.name}.id", str(value.id)))
    return tuple(made)


def peer_of(peer: str) -> str:
    """An address as gRPC tells it, without its port: each connection has another."""
    if peer.startswith("unix"):
        return "unix"
    host, _, _ = peer.partition(":")[2].rpartition(":")
    return host.replace("%5B", "").replace("%5D", "").strip("[]")


def outcome_of(error: BaseException, context: Any) -> tuple[str, str]:
    """The status and the reason of a call that raised."""
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED", ""
    if isinstance(error, WeftError):
        return error.code.name, error.reason_name
    code = context.code() if isinstance(error, aio.AbortError) else None
    if code is None:
        return "UNKNOWN", ""
    if not isinstance(code, grpc.StatusCode):
        code = _CODES.get(code, grpc.StatusCode.UNKNOWN)
    for key, value in context.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            with contextlib.suppress(DecodeError):
                return code.name, reason_in(status_pb2.Status.FromString(value))
    return code.name, ""


def outcome_in(status: status_pb2.Status) -> tuple[str, str]:
    """The name and the reason of a status."""
    return _CODES.get(status.code, grpc.StatusCode.UNKNOWN).name, reason_in(status)


def reason_in(status: status_pb2.Status) -> str:
    """The reason in the details of a status; empty: it has none."""
    info = error_info(status)
    return "" if info is None else info.reason


def _listed(values: Any) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more
