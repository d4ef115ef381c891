"""Wrappers of handlers that tell the audit of their calls.

Which calls of weft's own are recorded, and which are counted, follows from the contract: what an observer may call only reads, and an RPC says
itself that it is frequent. So a new RPC is recorded without anybody thinking of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc import aio

from weft.coordinator.audit.audit_event import MAX_DETAILS, NOBODY, AuditFact, who
from weft.coordinator.audit.audit_log import AuditLog
from weft.rpc.errors import STATUS_DETAILS_KEY, WeftError, error_info
from weft.rpc.handler_shape import with_behaviour
from weft.rpc.identity.caller import OBSERVER, Caller
from weft.v1 import access_pb2

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
    }
)
# Of a repeated field.
_SHOWN = 5
# Handlers that are kept: far more than a server has methods.
_KEPT = 2048


class AuditedCalls:
    """Tells the audit of calls.

    Args:
        caller: who makes a call.
    """

    def __init__(self, audit: AuditLog, caller: Callable[[Any], Caller]) -> None:
        self._audit = audit
        self._caller = caller

    def handler(self, handler: Any, method: str) -> Any:
        """The handler of one of weft's own RPCs, whose calls are recorded or counted if they change something."""
        access = _access(method)
        if not self._audit.on or access is None or OBSERVER in access.roles:
            return handler
        if access.frequent and handler.request_streaming:
            # What comes in the stream is counted, where it is read.
            return handler
        return with_behaviour(handler, _Audited(self, method, frequent=access.frequent))

    def around(self, wrapped: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        """The same wrapper of handlers, with the audit around it."""
        return lambda handler, method: self.handler(wrapped(handler, method), method)

    def hosted(self, inner: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """The same handlers of hosted methods, whose calls are counted."""
        return _Hosted(inner, self) if self._audit.on else inner

    def fact(self, method: str, context: Any, *, frequent: bool) -> AuditFact:
        """What is known at the beginning of a call. Of a frequent one not the address: it would make each count another one."""
        try:
            caller = who(self._caller(context))
        except WeftError:
            caller = NOBODY
        return AuditFact(method, caller, "" if frequent else peer_of(context.peer()))

    def ended(self, fact: AuditFact, *, frequent: bool) -> None:
        if frequent:
            self._audit.count(fact)
        else:
            self._audit.record(fact)

    def method_check(self, method: str, context: Any, check: Callable[[str], None]) -> Callable[[str], None]:
        """The same check of the methods that a stream submits, which counts them.

        Args:
            method: the stream's own.
        """
        if not self._audit.on:
            return check
        fact = self.fact(method, context, frequent=True)

        def counted(submitted: str) -> None:
            of_it = fact._replace(details=(("method", submitted),))
            try:
                check(submitted)
            except WeftError as error:
                self._audit.count(of_it._replace(code=error.code.name, reason=error.reason_name))
                raise
            self._audit.count(of_it)

        return counted

    def session_opened(self, method: str, context: Any) -> Callable[[Message], None]:
        """What records the beginning of an agent's session, by its Hello."""
        fact = self.fact(method, context, frequent=False) if self._audit.on else None

        def opened(hello: Message) -> None:
            if fact is not None:
                self._audit.record(fact._replace(details=details_of(hello)))

        return opened


class _Audited:
    """Around the behaviour of one method."""

    def __init__(self, calls: AuditedCalls, method: str, *, frequent: bool) -> None:
        self._calls = calls
        self._method = method
        self._frequent = frequent

    async def __call__(self, behaviour: Callable[..., Any], request: Any, context: Any) -> Any:
        fact = self._calls.fact(self._method, context, frequent=self._frequent)
        if self._frequent:
            if submitted := getattr(request, "method", ""):
                fact = fact._replace(details=(("method", submitted),))
        elif isinstance(request, Message):
            fact = fact._replace(details=details_of(request))
        try:
            response = await behaviour(request, context)
        except BaseException as error:
            code, reason = _outcome(error, context)
            self._calls.ended(fact._replace(code=code, reason=reason), frequent=self._frequent)
            raise
        if not self._frequent and isinstance(response, Message):
            fact = fact._replace(details=(*fact.details, *made_by(response)))
        self._calls.ended(fact, frequent=self._frequent)
        return response


class _Hosted(grpc.GenericRpcHandler):
    def __init__(self, inner: grpc.GenericRpcHandler, calls: AuditedCalls) -> None:
        self._inner = inner
        self._calls = calls
        # By path: a handler, and the same one audited.
        self._handlers: dict[str, tuple[Any, Any]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler: Any = self._inner.service(handler_call_details)
        if handler is None:
            return None
        path: str = handler_call_details.method
        known = self._handlers.get(path)
        if known is not None and known[0] is handler:
            return known[1]
        made = with_behaviour(handler, _Audited(self._calls, path.removeprefix("/"), frequent=True))
        if len(self._handlers) >= _KEPT:
            self._handlers.clear()
        self._handlers[path] = handler, made
        return made


def details_of(request: Message) -> tuple[tuple[str, str], ...]:
    """On what a request is: its ids and names, and the states that it sets."""
    found: list[tuple[str, str]] = []
    for field, value in request.ListFields():
        if field.message_type is not None and not field.is_repeated:
            inner = details_of(value) if field.message_type.file.package == "weft.v1" else ()
            found.extend((f"{field.name}.{name}", text) for name, text in inner)
        elif field.enum_type is not None and not field.is_repeated:
            number = field.enum_type.values_by_number.get(value)
            found.append((field.name, str(value) if number is None else number.name))
        elif field.type == field.TYPE_BOOL and not field.is_repeated:
            found.append((field.name, "true"))
        elif field.name in _NAMES and field.type == field.TYPE_STRING:
            found.append((field.name, _listed(value) if field.is_repeated else value))
        if len(found) >= MAX_DETAILS:
            break
    return tuple(found[:MAX_DETAILS])


def made_by(response: Message) -> tuple[tuple[str, str], ...]:
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


def _listed(values: Any) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more


def _access(method: str) -> access_pb2.Access | None:
    service, _, name = method.rpartition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None
    # The stubs of protobuf know no extensions.
    options: Any = found.GetOptions()
    access: access_pb2.Access = options.Extensions[access_pb2.access]
    return access


def _outcome(error: BaseException, context: Any) -> tuple[str, str]:
    """The status and the reason of a call that raised."""
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED", ""
    if isinstance(error, WeftError):
        return error.code.name, error.reason_name
    code = context.code() if isinstance(error, aio.AbortError) else None
    if code is None:
        return "UNKNOWN", ""
    return (
        code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.UNKNOWN)
    ).name, _reason(context)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _reason(context: Any) -> str:
    """The reason in the details of a status that was sent."""
    for key, value in context.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            with contextlib.suppress(DecodeError):
                info = error_info(status_pb2.Status.FromString(value))
                return "" if info is None else info.reason
    return ""
