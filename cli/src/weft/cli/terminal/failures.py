"""Failures as text for people: a plain sentence, what to do, and an exit status.

Exit status 1: the command failed. 2: it was used wrongly (also the option parser's status).
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from weft.cli.terminal.failure import Failure, system_reason
from weft.cli.terminal.output import json_text
from weft.cli.terminal.payload_view import PLAIN, PayloadView
from weft.client.api import Unreachable
from weft.rpc.errors import WeftError, error_info, from_call, reason_name, status_code, unpacked
from weft.rpc.process.extras import MissingExtra
from weft.rpc.times import seconds
from weft.v1 import errors_pb2

_NO_AGENT = reason_name(errors_pb2.ERROR_REASON_NO_AGENT)
_HANDLER_FAILED = reason_name(errors_pb2.ERROR_REASON_HANDLER_FAILED)
_OVERLOADED = reason_name(errors_pb2.ERROR_REASON_OVERLOADED)


@dataclass(frozen=True, slots=True)
class FailureText:
    """The lines for stderr, and the exit status."""

    lines: tuple[str, ...]
    status: int = 1


def explain(error: Exception) -> FailureText | None:
    """Explain an error that the user can act on. Returns None for a fault of the program."""
    if isinstance(error, MissingExtra):
        return FailureText((f"weft: {error}",))
    if isinstance(error, Failure):
        return FailureText((f"weft: {error}", *(f"  {hint}" for hint in error.hints)), error.status)
    if isinstance(error, grpc.RpcError):
        error = from_call(error)
    if isinstance(error, Unreachable):
        return FailureText(
            (
                f"weft: {error.message}",
                "  Is a coordinator running? `weft coordinator` starts one; `weft up` starts one with agents.",
                "  Does it have another address? Set --target HOST:PORT or WEFT_TARGET.",
            )
        )
    if isinstance(error, WeftError):
        if error.received is None:
            return FailureText((f"weft: {error.message}",))
        return FailureText((f"weft: {error.code.name}: {error.message}", *detail_lines(error.received)))
    # The operating system refused something: a full disk, a folder that must not be written.
    if isinstance(error, OSError) and error.errno is not None:
        place = f"cannot use {error.filename}: " if error.filename else ""
        return FailureText((f"weft: {place}{system_reason(error)}",))
    return None


def detail_lines(status: status_pb2.Status, view: PayloadView = PLAIN) -> list[str]:
    """The details of a status, one a line, indented; in words if their type is known."""
    return [f"  {text}" for packed in status.details for text in _facts(packed, status.message, view)]


def direct_advice(status: status_pb2.Status, method: str) -> list[str]:
    """Advice for a failure that only direct calls have. Indented lines."""
    code, reason = status_code(status.code), getattr(error_info(status), "reason", "")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and reason == _OVERLOADED:
        return ["  Try again, or add slots or agents. Without --direct, the call waits for a free slot."]
    if code is grpc.StatusCode.UNAVAILABLE and reason == _NO_AGENT:
        return [
            "  `weft agents list` shows the agents. Without --direct, the call waits for an agent; this machine need not reach it."
        ]
    if code is grpc.StatusCode.UNAVAILABLE and not status.details:
        return [
            f"  `weft call {method} --explain` shows which agents can be reached from here.",
            "  WEFT_AGENT_ADVERTISED_ADDRESS sets the address that an agent advertises. Without --direct, no agent need be reached.",
        ]
    return []


def raised_advice(status: status_pb2.Status, task_id: str) -> list[str]:
    """Where to see the exception of a durable call's handler: callers do not get it. Indented lines."""
    if not task_id or getattr(error_info(status), "reason", "") != _HANDLER_FAILED:
        return []
    return [f"  `weft tasks get {task_id}` shows the handler's exception; --verbose adds the traceback."]


def _facts(packed: any_pb2.Any, message: str, view: PayloadView) -> list[str]:
    if (info := unpacked(packed, error_details_pb2.ErrorInfo)) is not None:
        facts = "".join(f", {key} {value}" for key, value in sorted(info.metadata.items()))
        return [f"reason {info.reason} ({info.domain or 'no domain'}){facts}"]
    if (bad := unpacked(packed, error_details_pb2.BadRequest)) is not None:
        return [text for each in bad.field_violations if (text := _violation(each, message))]
    if (retry := unpacked(packed, error_details_pb2.RetryInfo)) is not None:
        return [f"try again after {seconds(retry.retry_delay):g} s"]
    fields = view.detail(packed)
    fields.pop("@type", None)
    return [f"{packed.TypeName()}: {json_text(fields)}"]


def _violation(wrong: error_details_pb2.BadRequest.FieldViolation, message: str) -> str:
    """A wrong field, and the id of the rule that it breaks, if there is one. What the message says is not said twice."""
    place = f"field {wrong.field}" if wrong.field else ""
    described = wrong.description if wrong.description != message else ""
    rule = f" ({wrong.reason})" if wrong.reason else ""
    return ": ".join(text for text in (place, described) if text) + rule
