"""Plain functions as hosted methods, by their annotations; descriptors for services that no generated module has."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Callable, Iterable
from types import NoneType
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from weft.agent.errors import HostingError
from weft.agent.hosting.function_messages import (
    InvalidFields,
    descriptor_of,
    deserializer,
    is_message_type,
    is_model,
    serializer,
    validated,
)
from weft.agent.hosting.hosted_function import plain_function
from weft.agent.hosting.hosted_methods import (
    FunctionSource,
    HostedMethod,
    check_importable,
    is_async,
    sandbox_of,
)
from weft.agent.sandboxing.sandbox import Sandbox
from weft.rpc import refusals

if TYPE_CHECKING:
    from weft.client.methods import Method

_STREAMS: tuple[object, ...] = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
)
_RESULT = "return value"
_EXAMPLE = (
    "annotate it with protobuf messages, dict or pydantic models, such as `async def analyze(request: AnalyzeRequest) -> "
    "AnalyzeReply`, `-> None` for no response, or `-> AsyncIterator[AnalyzeReply]` with `yield` for a stream"
)


class _Signature(typing.NamedTuple):
    request: type
    response: type
    streaming: bool
    takes_context: bool


def function_method(
    name: str, function: Callable[..., Any], *, isolate: bool | Sandbox = False, slot_cost: int = 1
) -> HostedMethod:
    """A function as a hosted method; its descriptor stays open when no generated module has one.

    Raises:
        HostingError: the name, the annotations, or their disagreement with the descriptor.
    """
    function = plain_function(function)
    service, slash, method = name.partition("/")
    if not slash or not service or not method.isidentifier() or "/" in method:
        raise HostingError(f'{name!r} is not a full method name such as "acme.v1.Analyst/Analyze"')
    signature = _signature(name, function)
    if isolate:
        check_importable(function)
    descriptor = _find_service(service)
    if descriptor is not None:
        _check_against(descriptor, method, signature, name)
    # Wrapped to take the context too: all handlers are called in one way.
    behavior = function if signature.takes_context else (lambda request, _context: function(request))
    return HostedMethod(
        name=name,
        behavior=behavior,
        deserialize=deserializer(signature.request),
        serialize=serializer(signature.response, f"{name} returned"),
        request_streaming=False,
        response_streaming=signature.streaming,
        is_async=is_async(function),
        slot_cost=slot_cost,
        isolated=FunctionSource(name, function) if isolate else None,
        sandbox=sandbox_of(isolate),
        file=None if descriptor is None else descriptor.file,
        types=(descriptor_of(signature.request), descriptor_of(signature.response)),
    )


def event_method(event: Any, function: Callable[..., Any]) -> str:
    """The name of the method that a function is for the events of a type.

    Raises:
        HostingError: the event is no message type, or not the one that the function takes.
    """
    if not is_message_type(event) or event is dict or is_model(event):
        raise HostingError(f"{event!r} is no protobuf message type: events have such types")
    descriptor = event.DESCRIPTOR
    package = descriptor.file.package
    short = descriptor.full_name.removeprefix(f"{package}.").replace(".", "")
    plain = plain_function(function)
    name = f"{package}.On{short}/{plain.__name__}" if package else f"On{short}/{plain.__name__}"
    request = _signature(name, plain).request
    if request is not event:
        raise HostingError(
            f"{plain.__name__} takes {request.__name__}, and not the event's type {event.__name__}"
        )
    return name


def client_method(name: str, function: Callable[..., Any]) -> Method[Any, Any]:
    """The same as a client calls it: requests become bytes, and bytes responses."""
    from weft.client.methods import Method

    signature = _signature(name, plain_function(function))
    to_bytes = serializer(signature.request, f"{name} takes")

    def serialize(request: Any) -> bytes:
        try:
            return to_bytes(validated(signature.request, request) if is_model(signature.request) else request)
        except InvalidFields as error:
            raise refusals.invalid_field(f"the request of {name}: {error}", error.violations[0][0]) from None

    return Method(name, serialize, deserializer(signature.response), signature.streaming)


def _find_service(service: str) -> Any:
    try:
        return descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return None


def _signature(name: str, function: Callable[..., Any]) -> _Signature:
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise HostingError(
            f"{name}: the annotations of {function.__name__} cannot be resolved ({error}); import their types "
            "where the function is defined, outside `if TYPE_CHECKING`"
        ) from error
    parameters = list(inspect.signature(function).parameters.values())
    required = [
        each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    if not parameters or len(required) > 2:
        raise HostingError(
            f"{name}: {function.__name__} must take the request, and the context if it wants it; {_EXAMPLE}"
        )
    takes_context = len(required) == 2 or (len(parameters) > 1 and parameters[1].name == "context")
    response = hints.get("return")
    yields = inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
    origin = typing.get_origin(response)
    streaming = origin in _STREAMS
    if streaming:
        response = typing.get_args(response)[0]
    if yields and not streaming:
        raise HostingError(f"{name}: {function.__name__} yields, so it must return an iterator; {_EXAMPLE}")
    if streaming and inspect.iscoroutinefunction(function):
        raise HostingError(f"{name}: {function.__name__} returns an iterator, so it must yield; {_EXAMPLE}")
    return _Signature(
        _message_type(name, f"parameter {parameters[0].name!r}", hints.get(parameters[0].name)),
        _message_type(name, _RESULT, response),
        streaming,
        takes_context,
    )


def _message_type(name: str, what: str, hint: Any) -> type:
    base = typing.get_origin(hint) or hint
    if base is dict:
        return dict
    if is_message_type(hint) or (hint is NoneType and what == _RESULT):
        return hint  # type: ignore[no-any-return]
    found = "has no annotation" if hint is None else f"is annotated {hint!r}"
    raise HostingError(f"{name}: the {what} {found}; {_EXAMPLE}")


def _check_against(service: Any, method: str, signature: _Signature, name: str) -> None:
    found = service.methods_by_name.get(method)
    if found is None:
        known = ", ".join(sorted(service.methods_by_name))
        raise HostingError(f"{service.full_name} has no method {method}; it has {known}")
    for what, declared, kind in (
        ("takes", found.input_type, signature.request),
        ("returns", found.output_type, signature.response),
    ):
        if declared.full_name != descriptor_of(kind).full_name:
            raise HostingError(
                f"{name} {what} {declared.full_name} by its descriptor, not {descriptor_of(kind).full_name}"
            )
    if found.client_streaming:
        raise HostingError(f"{name} takes a stream of requests: host it with add_servicer")
    if found.server_streaming != signature.streaming:
        wanted = "an iterator of responses" if found.server_streaming else "one response"
        raise HostingError(f"{name} returns {wanted} by its descriptor; {_EXAMPLE}")


def synthesize(methods: Iterable[HostedMethod]) -> list[FileDescriptor]:
    """Descriptors for methods that have none: one file for each service."""
    by_service: dict[str, list[HostedMethod]] = {}
    for method in methods:
        by_service.setdefault(method.name.partition("/")[0], []).append(method)
    return [_synthesize_file(service, each) for service, each in sorted(by_service.items())]


def _synthesize_file(service: str, methods: list[HostedMethod]) -> FileDescriptor:
    package, _, short = service.rpartition(".")
    imports = {each.file.name: each.file for method in methods for each in method.types}
    proto = descriptor_pb2.FileDescriptorProto(
        name=f"weft/synthesized/{service.replace('.', '/')}.proto",
        package=package,
        dependency=sorted(imports),
        syntax="proto3",
        service=[
            descriptor_pb2.ServiceDescriptorProto(
                name=short,
                method=[
                    descriptor_pb2.MethodDescriptorProto(
                        name=method.name.partition("/")[2],
                        input_type=f".{method.types[0].full_name}",
                        output_type=f".{method.types[1].full_name}",
                        server_streaming=method.response_streaming,
                    )
                    for method in sorted(methods, key=lambda each: each.name)
                ],
            )
        ],
    )
    # A pool of its own: the default one is the application's.
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for file in imports.values():
        _add_with_imports(pool, file, added)
    pool.Add(proto)
    return pool.FindFileByName(proto.name)


def _add_with_imports(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for each in file.dependencies:
        _add_with_imports(pool, each, added)
    pool.AddSerializedFile(file.serialized_pb)
