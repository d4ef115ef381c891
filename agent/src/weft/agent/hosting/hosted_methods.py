"""Servicers as hosted methods: the function to call, and how requests are read and responses written.

A servicer stays as generated: its `add_XServicer_to_server` is given a recorder instead of a server. Nothing here
runs a handler.
"""

from __future__ import annotations

import importlib
import inspect
import operator
import pickle
from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor

from weft.agent.errors import HostingError
from weft.agent.hosting.payload_checks import PayloadChecks
from weft.agent.sandboxing.sandbox import Sandbox
from weft.rpc.contracts.names import is_reserved
from weft.v1 import options_pb2

AddServicer = Callable[[Any, Any], None]


class ServicerSource(NamedTuple):
    """The origin of hosted methods: an isolated process makes them again from it."""

    add: AddServicer
    servicer: Any


class FunctionSource(NamedTuple):
    """As ServicerSource, for one function."""

    method: str
    function: Callable[..., Any]

    def __reduce__(self) -> tuple[Any, ...]:
        # By its name, which may lead to the `HostedFunction` around it.
        return _found_function, (self.method, self.function.__module__, self.function.__qualname__)


def _found_function(method: str, module: str, qualname: str) -> FunctionSource:
    return FunctionSource(method, operator.attrgetter(qualname)(importlib.import_module(module)))


@dataclass(frozen=True, slots=True)
class HostedMethod:
    """One hosted method."""

    name: str
    behavior: Callable[[Any, Any], Any]
    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    request_streaming: bool
    response_streaming: bool
    is_async: bool
    slot_cost: int
    # Set: run it in a process of its own, which makes the handler from this.
    isolated: ServicerSource | FunctionSource | None
    # The file that describes it. None if no generated module does: then only `types` describe it.
    file: FileDescriptor | None
    # Its request and response.
    types: tuple[Descriptor, Descriptor]
    # What its contract shall say, if the program gives options for it: those of its .proto, and these below them.
    policy: options_pb2.TaskPolicy | None = None
    # The program says that running a call twice does no harm.
    idempotent: bool = False
    # What its process is in; None: in no sandbox.
    sandbox: Sandbox | None = None
    # The checks of its messages by the rules of its contract; None: there are none.
    checks: PayloadChecks | None = None


class _Details(NamedTuple):
    """A `grpc.HandlerCallDetails` for a request to a generic handler for one of its methods."""

    method: str
    invocation_metadata: tuple[()] = ()


class _Recorder:
    """Stands in for a server: keeps the handlers that a generated `add_XServicer_to_server` registers."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        self.handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """The same handlers again, for the server's fast path."""


def check_hosted(methods: Iterable[HostedMethod], known: Container[str]) -> None:
    """Check methods that an agent is to host beside those that it hosts already.

    Raises:
        HostingError: one cannot be hosted.
    """
    for method in methods:
        if is_reserved(method.name.partition("/")[0]):
            raise HostingError(f"{method.name} is a name of weft's own servers: it could never be reached")
        if method.name in known:
            raise HostingError(f"{method.name} is hosted already")
        if method.slot_cost < 1:
            raise HostingError(f"{method.name}: slot_cost must be at least 1, not {method.slot_cost}")


def check_runnable(methods: Collection[HostedMethod], slots: int) -> None:
    """Check the methods of an agent that is to run.

    Raises:
        HostingError: there are none, or one takes more than all slots.
    """
    if not methods:
        raise HostingError("the agent hosts nothing: use add_servicer or @agent.method first")
    for method in methods:
        if method.slot_cost > slots:
            raise HostingError(f"{method.name} takes {method.slot_cost} slots; the agent has {slots}")


def servicer_methods(
    add: AddServicer, servicer: Any, *, isolate: bool | Sandbox = False, slot_cost: int = 1
) -> list[HostedMethod]:
    """The methods that a servicer implements, without the methods of the generated base class.

    Raises:
        HostingError: it cannot be hosted; the message says what to change.
    """
    source = ServicerSource(add, servicer) if isolate else None
    if source is not None:
        _check_picklable(source)
    recorder = _Recorder()
    add(servicer, recorder)
    if not recorder.handlers:
        raise HostingError(
            f"{_name_of(add)} registered no service: pass the generated add_...Servicer_to_server function"
        )
    hosted = [
        _from_handler(handler, method, source, slot_cost, sandbox_of(isolate))
        for generic in recorder.handlers
        for method, handler in _handlers(generic)
        if not _left_to_base(_behavior(handler))
    ]
    if not hosted:
        raise HostingError(f"{type(servicer).__name__} implements none of its service's methods")
    return hosted


def _handlers(generic: Any) -> Iterable[tuple[MethodDescriptor, Any]]:
    service = generic.service_name()
    for method in service_descriptor(service).methods:
        handler = generic.service(_Details(f"/{service}/{method.name}"))
        if handler is not None:
            yield method, handler


def service_descriptor(service: str) -> ServiceDescriptor:
    """A service's descriptor, as its generated module registered it.

    Raises:
        HostingError: no generated module that is imported has it.
    """
    try:
        return descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        raise HostingError(
            f"no generated module describes {service}: import its ..._pb2 module, generated for the default pool"
        ) from None


def _behavior(handler: Any) -> Callable[[Any, Any], Any]:
    return (  # type: ignore[no-any-return]
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )


def _left_to_base(behavior: Callable[..., Any]) -> bool:
    return getattr(behavior, "__module__", "").endswith("_pb2_grpc")


def _from_handler(
    handler: grpc.RpcMethodHandler[Any, Any],
    method: MethodDescriptor,
    source: ServicerSource | None,
    slot_cost: int,
    sandbox: Sandbox | None,
) -> HostedMethod:
    behavior = _behavior(handler)
    return HostedMethod(
        name=f"{method.containing_service.full_name}/{method.name}",
        behavior=behavior,
        deserialize=handler.request_deserializer or bytes,
        serialize=handler.response_serializer or bytes,
        request_streaming=handler.request_streaming,
        response_streaming=handler.response_streaming,
        is_async=is_async(behavior),
        slot_cost=slot_cost,
        isolated=source,
        sandbox=sandbox,
        file=method.containing_service.file,
        types=(method.input_type, method.output_type),
    )


def sandbox_of(isolate: bool | Sandbox) -> Sandbox | None:
    """The sandbox that a handler was given.

    Raises:
        HostingError: `isolate` is something else.
    """
    if isinstance(isolate, Sandbox):
        return isolate
    if not isinstance(isolate, bool):
        raise HostingError(f"isolate={isolate!r}: it is True, False or a Sandbox")
    return None


def is_async(behavior: Callable[..., Any]) -> bool:
    """Whether a handler runs on the event loop: `async def`, with or without `yield`."""
    call = behavior if inspect.isroutine(behavior) else getattr(behavior, "__call__", behavior)  # noqa: B004
    return any(
        test(each)
        for test in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        for each in (behavior, call)
    )


def _check_picklable(source: ServicerSource) -> None:
    try:
        pickle.dumps(source)
    except Exception as error:
        raise HostingError(
            f"isolate=True sends {type(source.servicer).__name__} to another process, which needs a picklable "
            f"servicer of an importable class (open connections and locks belong into the handler or into "
            f"__setstate__): {error}"
        ) from error


def check_importable(function: Callable[..., Any]) -> None:
    """Refuse a function that another process could not import by its name."""
    qualname = getattr(function, "__qualname__", "<lambda>")
    if "<" in qualname:
        raise HostingError(
            f"isolate=True runs {qualname} in another process, which must be able to import it: define it at the "
            "top level of a module"
        )


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))
