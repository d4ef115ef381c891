"""AMQP messages as tasks, and tasks' ends as replies. Pure: the broker is not known here.

message ─► read_message ─► Order ─► task ─► AmqpReply
└► NotATask: it can never be a task
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from weft.rpc import refusals
from weft.rpc.calls.metadata import belongs_to_caller, unfit

if TYPE_CHECKING:
    from weft.client import Task
    from weft.client.options import SubmitOptions
    from weft.rpc.contracts.contract_reader import ResolvedMethod
    from weft.rpc.errors import WeftError

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
_BODIES = {
    JSON: JSON,
    "text/json": JSON,
    PROTOBUF: PROTOBUF,
    "application/protobuf": PROTOBUF,
    "application/vnd.google.protobuf": PROTOBUF,
}
_ENCODINGS = ("", "utf-8", "utf8", "identity", "binary")
# Of a request id.
_MOST_ID_CHARS = 128
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MOST_PRIORITY = 9
_LEAST_S, _MOST_S = 0.001, 86_400.0 * 365
_MOST_METADATA_BYTES = 4096


class Delivered(Protocol):
    """A message as the broker gives it; the properties of AMQP 0-9-1 by their names."""

    body: bytes
    routing_key: str | None
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    content_type: str | None
    content_encoding: str | None
    priority: int | None
    # In s.
    expiration: Any

    @property
    def headers(self) -> Mapping[str, Any]: ...


class NotATask(Exception):
    """A message that can never be a task.

    Args:
        reason: for programs.
        message: for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message

    def error(self) -> WeftError:
        """What a caller would have got."""
        return refusals.payload_malformed(self.message)


@dataclass(frozen=True, slots=True)
class Rules:
    """How messages of one queue are read.

    Args:
        place: the broker and the queue; a part of request ids.
        methods: by routing key; "": the one of all others.
        id_from: the property that names a message: "message-id" or "correlation-id"; "none": each delivery is a task of its own.
        body: the content type of messages that have none.
        headers: the names of those that handlers see, as metadata.
    """

    place: str
    methods: Mapping[str, ResolvedMethod]
    id_from: str = "message-id"
    body: str = JSON
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """A task to be submitted.

    Args:
        request_id: None: the submission has one of its own.
        content_type: of the request, and of its reply.
        traceparent: of the trace that it belongs to; empty: none.
    """

    method: ResolvedMethod
    payload: bytes
    request_id: str | None
    content_type: str
    options: SubmitOptions
    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class AmqpReply:
    """What is published when a task has ended, or was refused."""

    body: bytes
    content_type: str
    # "weft.response" or "weft.error".
    kind: str
    message_id: str
    headers: dict[str, str] = field(default_factory=dict)


def read_message(message: Delivered, rules: Rules) -> Order:
    """The task that a message asks for.

    Raises:
        NotATask: it can never be one.
    """
    method = rules.methods.get(message.routing_key or "") or rules.methods.get("")
    if method is None:
        keys = ", ".join(sorted(rules.methods))
        raise NotATask(
            "ROUTING_KEY_UNKNOWN",
            f"no method is for the routing key {message.routing_key!r}; methods are for {keys}",
        )
    request_id = _request_id(message, rules)
    content_type = content_type_of(message, rules.body)
    headers = message.headers or {}
    parent = headers.get("traceparent")
    traced = isinstance(parent, str) and _TRACE_PARENT.fullmatch(parent) is not None
    state = headers.get("tracestate") if traced else ""
    return Order(
        method,
        _payload(message.body, content_type, method),
        request_id,
        content_type,
        _options(message, rules.headers),
        str(parent) if traced else "",
        state if isinstance(state, str) and not unfit([("tracestate", state)]) else "",
    )


def content_type_of(message: Delivered, default: str) -> str:
    """JSON or PROTOBUF.

    Raises:
        NotATask: it is neither.
    """
    given = (message.content_type or "").partition(";")[0].strip().lower()
    if (message.content_encoding or "").strip().lower() not in _ENCODINGS:
        raise NotATask(
            "CONTENT_ENCODING", f"the content encoding {message.content_encoding!r} is not read: send none"
        )
    if given in ("", "application/octet-stream", "text/plain"):
        return default
    try:
        return _BODIES[given]
    except KeyError:
        raise NotATask(
            "CONTENT_TYPE", f"the content type {given!r} is not read: send {JSON} or {PROTOBUF}"
        ) from None


def response_of(task: Task, order: Order) -> AmqpReply:
    """The reply of a task that has ended."""
    error = task.error()
    headers = {"weft-task-id": task.id, "weft-method": order.method.name}
    if error is not None:
        return error_reply(error, order.content_type, task.id, headers)
    if order.content_type == JSON:
        body = json.dumps(order.method.response_to_json(task.response), separators=(",", ":")).encode()
    else:
        body = task.response
    return AmqpReply(body, order.content_type, "weft.response", task.id, headers)


def refusal_reply(error: WeftError, message: Delivered, rules: Rules) -> AmqpReply:
    """The reply of a message that cannot be a task."""
    try:
        content_type = content_type_of(message, rules.body)
    except NotATask:
        content_type = rules.body
    return error_reply(error, content_type, message.message_id or "", {})


def error_reply(error: WeftError, content_type: str, message_id: str, headers: dict[str, str]) -> AmqpReply:
    """The reply that tells an error: as `google.rpc.Status`, in JSON its code by name, with the message and the reason."""
    named = {"weft-code": error.code.name, "weft-reason": error.reason_name if error.reason else ""}
    headers = headers | {key: value for key, value in named.items() if value}
    if content_type != JSON:
        body = error.status().SerializeToString()
    else:
        document = {
            "code": error.code.name,
            "message": error.message,
            "reason": named["weft-reason"],
            "metadata": error.metadata,
        }
        body = json.dumps({key: value for key, value in document.items() if value}).encode()
    return AmqpReply(body, content_type, "weft.error", message_id, headers)


def _request_id(message: Delivered, rules: Rules) -> str | None:
    if rules.id_from == "none":
        return None
    name = message.message_id if rules.id_from == "message-id" else message.correlation_id
    if not name:
        raise NotATask(
            "NO_ID",
            f"it has no {rules.id_from.replace('-', '_')}, so that a second delivery could not be told from a second message: let the sender set one, or choose"
            " another property by --id",
        )
    whole = f"amqp/{rules.place}/{name}"
    if len(whole) <= _MOST_ID_CHARS and _PRINTABLE.fullmatch(whole):
        return whole
    return "amqp/" + hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()


def _payload(body: bytes, content_type: str, method: ResolvedMethod) -> bytes:
    from weft.rpc.errors import InvalidArgument

    if content_type != JSON:
        # The coordinator reads it, as any payload.
        return body
    try:
        return method.request_from_json(body.decode())
    except UnicodeDecodeError as error:
        raise NotATask("NOT_JSON", f"the body is not UTF-8 from byte {error.start} on") from None
    except InvalidArgument as error:
        raise NotATask("INVALID_ARGUMENT", error.message) from None


def _options(message: Delivered, names: tuple[str, ...]) -> SubmitOptions:
    options: SubmitOptions = {}
    if message.priority is not None:
        options["priority"] = max(0, min(_MOST_PRIORITY, message.priority))
    if message.expiration is not None:
        try:
            expires_s = float(message.expiration)
        except (TypeError, ValueError):
            raise NotATask(
                "EXPIRATION", f"its expiration is {message.expiration!r}: send milliseconds"
            ) from None
        # Also what is no number.
        if not _LEAST_S <= expires_s <= _MOST_S:
            raise NotATask(
                "EXPIRATION", f"its expiration is {expires_s:g} s: it must be {_LEAST_S:g} s to a year"
            )
        options["schedule_to_start_s"] = expires_s
    if shown := [_entry(name, message.headers[name]) for name in names if name in (message.headers or {})]:
        if sum(len(key) + len(value) for key, value in shown) > _MOST_METADATA_BYTES:
            raise NotATask("HEADERS", f"the headers for handlers have more than {_MOST_METADATA_BYTES} bytes")
        options["metadata"] = shown
    return options


def _entry(name: str, value: object) -> tuple[str, str | bytes]:
    key = header_key(name)
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int | float):
        value = str(value)
    if why := unfit([(key, value)]):
        raise NotATask("HEADERS", f"the header {name} cannot be metadata: {why}")
    assert isinstance(value, str | bytes)
    return key, value


def header_key(name: str) -> str:
    """The metadata's key of a header.

    Raises:
        ValueError: it cannot be one, or is not the application's own.
    """
    key = name.lower()
    if why := unfit([(key, "")]):
        raise ValueError(why)
    if not belongs_to_caller(key):
        raise ValueError(f"the key {key} is weft's, gRPC's or the trace context's own")
    return key
