"""The contexts of direct calls' handlers, over the RPC's own. `current_task()` and child calls read them too.

The context of an async handler looks values up only when it is asked: most handlers ask for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cached_property
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from weft.agent.direct.direct_use import NO_TREE, Tree, budget_ids, tree_of
from weft.agent.handlers.current_call import CALL_ID, CancelSignal, call_context_of
from weft.agent.handlers.handler_context import AsyncContext, Metadata, SyncContext, checked
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.process import forks
from weft.rpc.calls import metadata
from weft.rpc.calls.call_context import (
    MAX_ID_CHARS,
    PARENT_ID_KEY,
    ROOT_ID_KEY,
    TREE_BUDGET_KEY,
    CallContext,
)
from weft.rpc.calls.session_keys import SESSION_KEY
from weft.rpc.calls.tree_budgets import MAX_TREE_BUDGETS
from weft.rpc.times import MAX_DURATION_S, timestamp
from weft.v1 import session_pb2, task_pb2

T = TypeVar("T")

_process = secrets.token_hex(6)
_count = itertools.count(1)


def generate_id() -> str:
    """A call id: unique, and cheap."""
    return f"{CALL_ID}{_process}-{next(_count)}"


def _in_child() -> None:
    # Members of a pool are forked with this module.
    global _process  # noqa: PLW0603
    _process = secrets.token_hex(6)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def assignment_of(method: str, native: Any) -> session_pb2.Assignment:
    """An assignment made for a direct call, without its payload and the caller's own metadata."""
    made = session_pb2.Assignment(task_id=generate_id(), attempt=1, method=method)
    call = made.context
    for key, value in native.invocation_metadata() or ():
        if key == ROOT_ID_KEY:
            call.root_id = _id(value)
        elif key == PARENT_ID_KEY:
            call.parent_id = _id(value)
        elif key == TREE_BUDGET_KEY:
            add_budget(call, value)
        elif key == SESSION_KEY:
            call.session.key = str(value)
        elif key == "traceparent":
            call.traceparent = str(value)
        elif key == "tracestate":
            call.tracestate = str(value)
        elif key == "baggage":
            call.baggage = str(value)
    left_s = native.time_remaining()
    if left_s is not None and left_s < MAX_DURATION_S:
        made.deadline.CopyFrom(timestamp(time.time() + left_s))
    return made


def add_budget(call: task_pb2.CallContext, value: str | bytes) -> None:
    """Take a budget of a task above into a call's context. One that is none, or too many, are left out: the caller may say anything."""
    if isinstance(value, bytes) and len(call.budgets) < MAX_TREE_BUDGETS:
        with contextlib.suppress(DecodeError):
            budget = task_pb2.TreeBudget.FromString(value)
            if len(budget.task_id) <= MAX_ID_CHARS:
                call.budgets.append(budget)


def _id(value: str | bytes) -> str:
    # Checked, because it comes from a caller and goes into logs and further calls.
    return str(value)[:MAX_ID_CHARS]


class DirectAsyncContext(AsyncContext):
    """An async handler's context. It collects the call's status and trailers, and passes everything else to grpc.aio's own context.

    The handler does not get grpc.aio's context itself: a status or trailers that cannot be sent would leave the call without an end.
    Large because it has many methods: a handler's context must have the whole interface of `grpc.aio.ServicerContext`.
    """

    durable = False

    def __init__(self, method: str, agent_id: str, native: Any, request: Any) -> None:
        self.agent_id = agent_id
        self._method = method
        self._native = native
        self._request = request
        self._inherited: CallContext | None = None

    @cached_property
    def assignment(self) -> session_pb2.Assignment:  # type: ignore[override]
        return assignment_of(self._method, self._native)

    @property
    def tree(self) -> Tree:
        """The tree that the call belongs to."""
        # The assignment costs more, and most calls do not need it.
        for key, value in self._native.invocation_metadata() or ():
            if key == ROOT_ID_KEY:
                return _id(value), self._budgets()
        return NO_TREE

    def _budgets(self) -> tuple[str, ...]:
        if not any(key == TREE_BUDGET_KEY for key, _ in self._native.invocation_metadata() or ()):
            return ()
        return budget_ids(self.assignment.context)

    @cached_property
    def cancel_signal(self) -> CancelSignal:  # type: ignore[override]
        signal = CancelSignal()
        # Work for a call that has ended may stop.
        self._native.add_done_callback(lambda _native: signal.set())
        return signal

    def was_cancelled(self, raised: type[BaseException]) -> bool:
        if super().was_cancelled(raised):
            return True
        # When the caller goes, gRPC cancels the task. A handler that does so itself looks the same.
        task = asyncio.current_task()
        return issubclass(raised, asyncio.CancelledError) and task is not None and bool(task.cancelling())

    def time_left_s(self) -> float | None:
        left_s: float | None = self._native.time_remaining()
        return left_s

    def child_context(self) -> CallContext:
        if self._inherited is None:
            left_s = self.time_left_s()
            deadline_at = None if left_s is None else time.monotonic() + left_s
            self._inherited = call_context_of(self.assignment, deadline_at)
        return self._inherited

    def request(self, hosted: HostedMethod) -> Any:
        if not hosted.request_streaming:
            return hosted.deserialize(self._request)
        # The requests of a stream are parsed when they are read.
        return self._request if self.decode is None else self._decoded(self._request)

    async def _decoded(self, requests: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield await self.decode(request)

    @property
    def request_bytes(self) -> bytes:
        payload: bytes = self._request
        return payload

    @request_bytes.setter
    def request_bytes(self, payload: bytes) -> None:
        self._request = payload

    async def read(self) -> Any:
        request = await self._native.read()
        return request if self.decode is None or request is aio.EOF else await self.decode(request)

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        await self._native.send_initial_metadata(checked(initial_metadata))

    def invocation_metadata(self) -> Any:
        return metadata.without_tokens(self._native.invocation_metadata() or ())

    def peer(self) -> str:
        peer: str = self._native.peer()
        return peer

    def peer_identities(self) -> Any:
        return self._native.peer_identities()

    def peer_identity_key(self) -> Any:
        return self._native.peer_identity_key()

    def auth_context(self) -> Any:
        return self._native.auth_context()

    def set_compression(self, compression: grpc.Compression) -> None:
        self._native.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        self._native.disable_next_message_compression()


class DirectSyncContext(SyncContext):
    """A sync handler's context over the native one. Operations on the RPC run on its event loop, until the call ends."""

    durable = False

    def __init__(
        self,
        hosted: HostedMethod,
        agent_id: str,
        native: Any,
        request: Any,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        left_s = native.time_remaining()
        deadline_at = None if left_s is None else time.monotonic() + left_s
        super().__init__(_whole_assignment(hosted, request, native), agent_id, deadline_at)
        # The RPC has ended: its native objects must not be used any more. Written and read on the loop.
        self.gone = False
        # Initial metadata or a response has gone out.
        self.sent_any = False
        self._native = native
        self._request = request
        self._loop = loop
        # Copied, for a handler may outlive its call.
        self._metadata = native.invocation_metadata() or ()
        self._peer = native.peer()

    def request(self, hosted: HostedMethod) -> Any:
        return self._requests() if hosted.request_streaming else hosted.deserialize(self._request)

    def _requests(self) -> Iterator[Any]:
        while True:
            message = self.on_loop(self._native.read)
            if message is aio.EOF:
                if not self.is_active():
                    # As a grpc server does: the handler must not mistake it for the caller's half-close.
                    raise grpc.RpcError(self.cancel_reason)
                return
            yield message if self.decode is None else self.decode(message)

    @property
    def tree(self) -> Tree:
        """The tree that the call belongs to."""
        return tree_of(self.assignment.context)

    @property
    def request_bytes(self) -> bytes:
        payload: bytes = self._request
        return payload

    @request_bytes.setter
    def request_bytes(self, payload: bytes) -> None:
        self._request = payload
        if self.assignment.payload:
            # It goes to an isolated handler's process.
            self.assignment.payload = payload

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        if self.sent_any:
            raise ValueError("Initial metadata no longer allowed!")
        self.on_loop(self._native.send_initial_metadata, checked(initial_metadata))
        self.sent_any = True

    def invocation_metadata(self) -> Any:
        return metadata.without_tokens(self._metadata)

    def peer(self) -> str:
        peer: str = self._peer
        return peer

    def set_compression(self, compression: grpc.Compression) -> None:
        self._native.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        self._native.disable_next_message_compression()

    def on_loop(self, operation: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run an operation on the RPC's event loop and wait for it, in the handler's thread.

        Raises:
            grpc.RpcError: the call has ended.
        """
        if forks.is_child():
            raise grpc.RpcError("the call is the agent's, of which this process is a forked child")

        async def do() -> T:
            if self.gone:
                raise grpc.RpcError("the call has ended")
            return await operation(*args)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result()


def _whole_assignment(hosted: HostedMethod, request: Any, native: Any) -> session_pb2.Assignment:
    made = assignment_of(hosted.name, native)
    if hosted.isolated is not None:
        # The assignment goes to another process, with all values that the handler may read.
        made.payload = request
        made.context.metadata.extend(metadata.to_proto(native.invocation_metadata() or ()))
    return made
