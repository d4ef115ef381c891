"""The result of `@agent.method`: it is still the function, and also a handle to call it through a mesh."""

from __future__ import annotations

import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

if TYPE_CHECKING:
    from weft.client import Finished, Mesh, Method, TaskHandle
    from weft.client.options import SubmitOptions
    from weft.client.sync import SyncMesh, SyncTaskHandle

Req = TypeVar("Req")
Resp = TypeVar("Resp")
Returned = TypeVar("Returned")
Returned_co = TypeVar("Returned_co", covariant=True)
Rest = ParamSpec("Rest")


class HostedFunction(Generic[Req, Rest, Returned, Resp]):
    """A function that an agent hosts as a method. Called, it is the function itself, here and now.

    Its other methods call it through a mesh, `weft.client`'s or `weft.client.sync`'s, where an agent runs it. They need no running
    agent here: a caller imports the module.

    Args:
        function: the function.
        make_method: gives its `weft.client.Method`, when it is first needed.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Req, Rest], Returned],
        make_method: Callable[[], Method[Req, Resp]],
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._make_method = make_method
        self._method: Method[Req, Resp] | None = None

    def __call__(self, request: Req, /, *rest: Rest.args, **named: Rest.kwargs) -> Returned:
        return self.function(request, *rest, **named)

    @property
    def method(self) -> Method[Req, Resp]:
        """The method, for the tasks API: `mesh.tasks.submit(shout, request)` takes the function itself too."""
        if self._method is None:
            self._method = self._make_method()
        return self._method

    @overload
    def submit(
        self,
        mesh: Mesh,
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Coroutine[Any, Any, TaskHandle[Resp]]: ...
    @overload
    def submit(
        self,
        mesh: SyncMesh,
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> SyncTaskHandle[Resp]: ...
    def submit(self, mesh: Any, request: Req, **how: Any) -> Any:
        """Store one task; see `Tasks.submit`."""
        return mesh.tasks.submit(self.method, request, **how)

    @overload
    def call(
        self,
        mesh: Mesh,
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Coroutine[Any, Any, Resp]: ...
    @overload
    def call(
        self,
        mesh: SyncMesh,
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Resp: ...
    def call(self, mesh: Any, request: Req, **how: Any) -> Any:
        """Run it as a task and wait for the response; see `Tasks.call`."""
        return mesh.tasks.call(self.method, request, **how)

    @overload
    def map(
        self,
        mesh: Mesh,
        requests: Iterable[Req] | AsyncIterable[Req],
        *,
        request_id: Callable[[Req], str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncGenerator[Finished[Resp]]: ...
    @overload
    def map(
        self,
        mesh: SyncMesh,
        requests: Iterable[Req],
        *,
        request_id: Callable[[Req], str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Generator[Finished[Resp]]: ...
    def map(self, mesh: Any, requests: Any, **how: Any) -> Any:
        """Run it for many requests. Gives the result of each, in the order in which they end. See `Tasks.run_many`."""
        return mesh.tasks.run_many(self.method, requests, **how)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        # In a class body it behaves as a function does.
        return self if instance is None else functools.partial(self, instance)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<HostedFunction {self.function!r}>"


class HostFunction(Protocol):
    """The decorator that `Agent.method` gives: for functions that are sync or async, with one response or a stream."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Req, Rest], AsyncIterator[Resp]], /
    ) -> HostedFunction[Req, Rest, AsyncIterator[Resp], Resp]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Req, Rest], Coroutine[Any, Any, Resp]], /
    ) -> HostedFunction[Req, Rest, Coroutine[Any, Any, Resp], Resp]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Req, Rest], Iterator[Resp]], /
    ) -> HostedFunction[Req, Rest, Iterator[Resp], Resp]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Req, Rest], Resp], /
    ) -> HostedFunction[Req, Rest, Resp, Resp]: ...


class HostedBatch(Protocol[Req, Returned_co, Resp]):
    """A function of batches that an agent hosts: called, it takes a list; through a mesh, it takes one request. It is a `HostedFunction`."""

    @property
    def method(self) -> Method[Req, Resp]: ...
    def __call__(self, requests: list[Req], /) -> Returned_co: ...
    def submit(self, mesh: Mesh, request: Req, **how: Any) -> Coroutine[Any, Any, TaskHandle[Resp]]: ...
    def call(self, mesh: Mesh, request: Req, **how: Any) -> Coroutine[Any, Any, Resp]: ...
    def map(
        self, mesh: Mesh, requests: Iterable[Req] | AsyncIterable[Req], **how: Any
    ) -> AsyncGenerator[Finished[Resp]]: ...


class HostBatchFunction(Protocol):
    """The decorator that `Agent.method` gives with a `batch`."""

    @overload
    def __call__(
        self, function: Callable[[list[Req]], Coroutine[Any, Any, Sequence[Resp | Exception]]], /
    ) -> HostedBatch[Req, Coroutine[Any, Any, Sequence[Resp | Exception]], Resp]: ...
    @overload
    def __call__(
        self, function: Callable[[list[Req]], Sequence[Resp | Exception]], /
    ) -> HostedBatch[Req, Sequence[Resp | Exception], Resp]: ...


def plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, where it was decorated already."""
    return function.function if isinstance(function, HostedFunction) else function
