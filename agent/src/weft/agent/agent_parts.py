"""What an agent is made of: the methods, hooks and gauges that its program gives it before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Unpack, overload

from google.protobuf.message import Message

from weft.agent.errors import HostingError
from weft.agent.gauges import Gauges
from weft.agent.handlers.batch_functions import single_function
from weft.agent.handlers.batches import Batch
from weft.agent.hooks import Hooks
from weft.agent.hosting.functions import client_method, event_method, function_method
from weft.agent.hosting.hosted_function import (
    HostBatchFunction,
    HostedFunction,
    HostFunction,
    plain_function,
)
from weft.agent.hosting.hosted_methods import AddServicer, HostedMethod, check_hosted, servicer_methods
from weft.agent.hosting.hosted_policies import with_options
from weft.agent.hosting.method_rules import with_rules
from weft.agent.runtime import Runtime
from weft.agent.sandboxing.sandbox import Sandbox
from weft.rpc.task_policy.method_options import MethodOptions

Hook = TypeVar("Hook", bound=Callable[..., Any])


class AgentParts:
    """Takes an agent's methods, hooks and gauges; refuses them while it runs."""

    def __init__(self) -> None:
        self._methods: dict[str, HostedMethod] = {}
        self._hooks = Hooks()
        self._gauges = Gauges()
        self._runtime: Runtime | None = None

    @property
    def methods(self) -> Sequence[str]:
        """Full names of the methods that it hosts."""
        return sorted(self._methods)

    def add_servicer(
        self,
        add_servicer_to_server: AddServicer,
        servicer: object,
        *,
        isolate: bool | Sandbox = False,
        slot_cost: int = 1,
        options: Mapping[str, MethodOptions] | None = None,
    ) -> None:
        """Host the methods that a servicer implements.

        Args:
            add_servicer_to_server: the generated function `add_XServicer_to_server`.
            servicer: the servicer, unchanged: sync or async methods, unary and server-streaming.
            isolate: run each call in a process of its own. If it must end and does not, it is killed, with all
                processes that the handler has started. The servicer is pickled once; each process has a copy. A `Sandbox`: it runs in
                one of these, too.
            slot_cost: slots that one call takes, unless `options` say it; at least as many as the .proto says.
            options: how calls run, by the method's name: `{"Greet": {"retry": RetryPolicy(max_attempts=3)}}`. "*" stands
                for all methods, below their own options. What the .proto says comes first.

        Raises:
            HostingError: it cannot be hosted, or cannot have an option; the message says what to change.
        """
        self._add(
            servicer_methods(add_servicer_to_server, servicer, isolate=isolate, slot_cost=slot_cost),
            options or {},
        )

    @overload
    def method(
        self, name: str, *, isolate: bool | Sandbox = ..., **options: Unpack[MethodOptions]
    ) -> HostFunction: ...
    @overload
    def method(
        self, name: str, *, batch: Batch, isolate: bool | Sandbox = ..., **options: Unpack[MethodOptions]
    ) -> HostBatchFunction: ...
    def method(
        self,
        name: str,
        *,
        isolate: bool | Sandbox = False,
        batch: Batch | None = None,
        **options: Unpack[MethodOptions],
    ) -> Any:
        """Host a function as the method `name`, such as "acme.v1.Analyst/Analyze".

        The function takes the request, and the context too if it wants it. Its annotations are protobuf messages; or
        `dict` for a `google.protobuf.Struct`; or pydantic models, which are a `Struct` with checked fields. With `yield`
        it is a streaming method.

            @agent.method("acme.v1.Analyst/Analyze")
            async def analyze(request: AnalyzeRequest) -> AnalyzeReply: ...

        The decorated function is still the function, and a handle to it: `await analyze.call(mesh, request)`, `.submit`
        and `.map` run it through a mesh, where an agent hosts it.

        Args:
            isolate: run each call in a process of its own; the function must be importable. A `Sandbox`: it runs in one of these, too, where it
                sees little of the machine and can use so much of it.
            batch: the function takes a list of requests, and returns a list with a response or an exception for each: calls that come close
                together are one call of it. See `Batch`.
            options: how calls run, such as `retry=RetryPolicy(max_attempts=3)` or `start_to_close_s=30`; see
                `MethodOptions`. What the .proto says, if there is one, comes first.

        Raises:
            HostingError: name, annotations or options; the message says what to change.
        """

        def decorate(function: Callable[..., Any]) -> Any:
            single = function
            if batch is not None:
                single = single_function(name, function, batch, isolate=bool(isolate))
            self._add([function_method(name, single, isolate=isolate)], {name: options} if options else {})
            return HostedFunction(plain_function(function), lambda: client_method(name, single))

        return decorate

    def on(
        self,
        event: type[Message],
        *,
        filter: str = "",  # noqa: A002  # as events have it
        isolate: bool | Sandbox = False,
        **options: Unpack[MethodOptions],
    ) -> HostFunction:
        """Host a function that gets the events of a type: each event is a durable task of it, which is retried as others are.

            @agent.on(OrderPlaced, filter="event.total > 100")
            async def reserve(order: OrderPlaced) -> None: ...

        It is the method `acme.shop.v1.OnOrderPlaced/reserve` with the option `on_event`: agents that host it share the events, so that each
        event is handled by one of them. It begins with the first event after an agent has brought it, and loses none while none runs. Another
        function gets all events, too. `current_task().metadata` says more of the event, such as `event-sequence`.

        Args:
            event: a message type, which is the annotation of the function's first parameter.
            filter: only events for which this expression of CEL is true: `event` is the message.
            isolate: as for `method`.
            options: as for `method`.

        Raises:
            HostingError: as for `method`.
        """

        def decorate(function: Callable[..., Any]) -> Any:
            chosen: MethodOptions = {**options, "on_event": filter}
            return self.method(event_method(event, function), isolate=isolate, **chosen)(function)

        return decorate

    def on_start(self, function: Hook) -> Hook:
        """Run a function, sync or async, before the agent takes any work: it may open connections or load a model.

            @agent.on_start
            async def open_database() -> None: ...

        Functions run in the order in which they were given. If one raises, the agent does not start: `run` and `serve`
        raise HookError. Isolated handlers run in processes of their own, in which no such function runs.

        Raises:
            HostingError: it takes arguments, or yields.
        """
        return self._add_hook("on_start", function)

    def on_stop(self, function: Hook) -> Hook:
        """Run a function, sync or async, when the agent has stopped: after its last handler, the last function first.

        They have 5 s together; their exceptions are logged. They run only if all on_start functions have succeeded.

        Raises:
            HostingError: it takes arguments, or yields.
        """
        return self._add_hook("on_stop", function)

    def background(self, function: Hook) -> Hook:
        """Run a function beside the handlers, from the agent's start until it stops.

            @agent.background
            async def refresh() -> None:
                while True:
                    await load_prices()
                    await asyncio.sleep(60)

            @agent.background
            def poll(stopping: threading.Event) -> None:
                while not stopping.wait(10):
                    check_queue()

        An async function runs on the agent's event loop and is cancelled at the end, after the last handler. A sync one
        runs in a thread; it may take `stopping`, which is set then. Both have 2 s to end. A function that raises is
        logged, and not started again; the agent goes on.

        Raises:
            HostingError: it takes other arguments, or yields.
        """
        return self._add_hook("background", function)

    def on_connect(self, function: Hook) -> Hook:
        """Run a function, sync or async, each time when a session with a coordinator is open. It may take the `Connected`.

            @agent.on_connect
            async def connected(session: Connected) -> None: ...

        Functions of `on_connect` and `on_disconnect` run one after another, beside the handlers, in the order of what has happened. Their
        exceptions are logged.

        Raises:
            HostingError: it takes other arguments, or yields.
        """
        return self._add_hook("on_connect", function)

    def on_disconnect(self, function: Hook) -> Hook:
        """The same when a session has ended that the agent has not ended itself: it dials again. It may take the `Disconnected`, which says
        whether the coordinator stops in order (`stopping`).

        Raises:
            HostingError: it takes other arguments, or yields.
        """
        return self._add_hook("on_disconnect", function)

    def on_message(self, function: Hook) -> Hook:
        """Run a function, sync or async, for each message of its type that is sent to the agent (`Mesh.broadcast`, `weft agents tell`).

            @agent.on_message
            async def heard(message: Heartbeat) -> None: ...

        The annotation is the type: a protobuf message, or `dict` or a pydantic model for a `google.protobuf.Struct`. Functions run one after another, beside the
        handlers, in the order of the messages; 1000 may wait. Their exceptions are logged.

        Raises:
            HostingError: it takes other arguments, or yields.
        """
        return self._add_hook("on_message", function)

    def gauge(self, name: str, function: Callable[[], float], *, as_slots: float = 0.0) -> None:
        """Report a number of the application: in metrics, and to the coordinator with each heartbeat (`weft agents show`).

            agent.gauge("queue_len", lambda: len(queue), as_slots=1)

        It is called from any thread, about once a second: it must be quick, and only read. One counts as `as_slots` used slots of load.

        Raises:
            HostingError: the name is not possible or taken, there are 64 already, or `as_slots` is below 0.
        """
        self._gauges.add(name, function, as_slots)

    def _add_hook(self, kind: str, function: Hook) -> Hook:
        if self._runtime is not None:
            raise HostingError(f"the agent runs already: add its {kind} functions before it starts")
        self._hooks.add(kind, function)
        return function

    def _add(self, methods: Sequence[HostedMethod], options: Mapping[str, MethodOptions]) -> None:
        if self._runtime is not None:
            raise HostingError("the agent runs already: add its methods before it starts")
        methods = with_rules(with_options(methods, options))
        check_hosted(methods, self._methods)
        self._methods.update((method.name, method) for method in methods)
