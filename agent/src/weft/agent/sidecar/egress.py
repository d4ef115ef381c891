"""The egress: a server on this machine through which the app calls the mesh, with a stock client.

    app ─► any method ─┬─ direct  ─► an agent, chosen by load
                       └─ durable ─► the coordinator, which makes a task of it
        ─► health, reflection, weft's own API ─► the coordinator

The app may call what the token that it shows may, or else the sidecar's own: `app_rights` finds that out first.

A call with `weft-mode: direct` or `durable` is of that kind. Without it, a call is durable if it has `weft-step`, if the settings name its
method or service, or if its contract says so (`mode: CALL_MODE_DURABLE`), else direct.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import grpc

from weft.agent.errors import HostingError
from weft.agent.sidecar.app_rights import AppRights
from weft.agent.sidecar.app_state import STATE_KEYS
from weft.agent.sidecar.calls_in_flight import HandledCalls
from weft.agent.sidecar.method_shapes import Shapes
from weft.rpc import refusals
from weft.rpc.balancing import BalancedChannel, Balancer, BalancerLimits
from weft.rpc.balancing.sticky_picks import StickyPicks, asks
from weft.rpc.calls import metadata, relay
from weft.rpc.calls.admission import Admission
from weft.rpc.calls.call_context import CallContext
from weft.rpc.calls.metadata import AGENT_KEY, DIRECT, DURABLE, MODE_KEY, STEP_KEY
from weft.rpc.calls.session_keys import OF_SESSION_KEY
from weft.rpc.calls.traced_calls import traced_handler
from weft.rpc.contracts import names
from weft.rpc.discovery import Discovery
from weft.rpc.errors import Unimplemented, WeftError
from weft.rpc.handler_shape import behaviour_of
from weft.rpc.identity.ticket_book import TicketBook
from weft.rpc.network.agent_route import AgentRoute
from weft.rpc.network.channel import (
    MAX_MESSAGE_BYTES,
    NO_TLS,
    Route,
    make_server,
    server_options,
)
from weft.rpc.network.path_bound import refused_path
from weft.rpc.network.ports import PortRefused, open_port
from weft.rpc.process.logs import get_logger
from weft.rpc.registries.coordinator_channel import dial_any
from weft.rpc.security.namespace_names import DEFAULT, NAMESPACE_KEY, named_in
from weft.rpc.security.tls_files import TlsFiles
from weft.rpc.security.token_metadata import TOKEN_KEY
from weft.rpc.telemetry import traces
from weft.v1 import fleet_pb2

_log = get_logger("weft.sidecar")

# Handlers that are kept: far more than an app has methods to call.
KEPT_HANDLERS = 8192

# Keys that the app gets with a call that it handles, and those of the sidecar's connection. If the app passes them on, they are not requests of its own.
_TOLD_KEYS = frozenset(
    {
        "weft-task-id",
        "weft-attempt",
        *STATE_KEYS,
        AGENT_KEY,
        MODE_KEY,
        TOKEN_KEY,
        NAMESPACE_KEY,
        OF_SESSION_KEY,
    }
)


class Egress:
    """The app's way into the mesh.

    Args:
        address: "host:port" or "unix:PATH".
        coordinators: addresses of coordinators that share a store.
        durable: methods and services that are called durably unless a call says otherwise.
        calls: the calls that the app is handling.
        route: how the coordinators are reached.
        max_message_bytes: largest request or response.
        max_calls: calls of the app that wait at a time.
    """

    # Told of each call that has ended.
    observe: relay.Observe | None = None

    def __init__(
        self,
        address: str,
        coordinators: Sequence[str],
        durable: Collection[str],
        calls: HandledCalls,
        *,
        route: Route = NO_TLS,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_calls: int = 10_000,
    ) -> None:
        self._address = address
        self._coordinator = dial_any(coordinators, route)
        # Its agents are known here, and those of no other.
        self._namespace = route.namespace
        self._shapes = Shapes(self._coordinator)
        self.rights = AppRights(self._coordinator, route.token)
        self._book: TicketBook | None = None
        if route.token is not None:
            self._book = TicketBook(self._coordinator, route.token, self._fleet_changed)
        self.balancer = Balancer(
            limits=BalancerLimits(max_message_bytes=max_message_bytes),
            may_run_twice=self._shapes.may_run_twice,
            route=AgentRoute(route.security, self._book),
        )
        self.balancer.sticky = StickyPicks(self.balancer, asks(self._coordinator))
        self.admission = Admission(max_calls, "the sidecar's setting max_calls")
        found = self._fleet_changed if self._book is None else self._book.fleet_changed
        self._discovery = Discovery(self._coordinator, found)
        self._durable = frozenset(durable)
        self._calls = calls
        self._direct = BalancedChannel(self.balancer, for_others=True)
        self._server = make_server(server_options(max_message_bytes=max_message_bytes))
        self._server.add_generic_rpc_handlers((self.rights.edge.guarded(_Handlers(self._handler)),))
        # By path and mode, while the shapes stay the same.
        self._handlers: dict[tuple[str, str], grpc.RpcMethodHandler[Any, Any]] = {}

    async def start(self, tls: TlsFiles | None = None) -> None:
        """Serve.

        Args:
            tls: the certificate of its port; None: the port is plain.

        Raises:
            HostingError: it cannot listen on the address; the message says what to do.
        """
        try:
            open_port(self._server, self._address, tls)
        except PortRefused as refused:
            raise HostingError(
                f"the egress cannot listen on {self._address}: {refused}; choose another address with "
                "--egress HOST:PORT or --egress unix:PATH, or --egress off"
            ) from None
        await self._server.start()
        self.rights.start()
        self._discovery.start()
        _log.info("egress.opened", address=self._address)

    async def close(self, grace_s: float) -> None:
        """End; calls that are under way get the grace."""
        await self._server.stop(grace_s)
        await self._shapes.close()
        await self._discovery.close()
        await self.rights.close()
        if self._book is not None:
            await self._book.close()
        await self.balancer.close()
        await self._coordinator.close()

    def _fleet_changed(self, agents: list[fleet_pb2.Agent]) -> None:
        self.balancer.update(agents)
        self._shapes.fleet_changed(agents, self._handlers.clear)

    # -- calls --------------------------------------------------------------------------------------------------

    def _handler(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path: str = details.method
        refused: grpc.RpcMethodHandler[Any, Any] | None = refused_path(path)
        if refused is not None:
            return refused
        named = named_in(details.invocation_metadata or ())
        if named and named != (self._namespace or DEFAULT):
            return _refusal(_elsewhere(named, self._namespace))
        service = path.removeprefix("/").rpartition("/")[0]
        if names.is_reserved(service):
            return relay.handler(self._coordinator, path, outgoing=_with_token)
        mode = self._mode(path, service, details)
        if mode not in (DIRECT, DURABLE):
            return _refusal(
                refusals.invalid_field(
                    f"{MODE_KEY} is {mode!r}; it must be direct or durable", field=MODE_KEY
                )
            )
        if mode == DIRECT and self._shapes.lacks(path.removeprefix("/")):
            return _refusal(_unknown(path.removeprefix("/")))
        handler = self._handlers.get((path, mode))
        if handler is None:
            handler = self._make(path, mode)
            if len(self._handlers) < KEPT_HANDLERS:
                self._handlers[path, mode] = handler
        return handler

    def _mode(self, path: str, service: str, details: grpc.HandlerCallDetails) -> str:
        given = dict(details.invocation_metadata or ())
        if MODE_KEY in given:
            return str(given[MODE_KEY])
        if STEP_KEY in given:
            return DURABLE
        method = path.removeprefix("/")
        durable = service in self._durable or method in self._durable or self._shapes.is_durable(method)
        return DURABLE if durable else DIRECT

    def _make(self, path: str, mode: str) -> grpc.RpcMethodHandler[Any, Any]:
        channel = self._direct if mode == DIRECT else self._coordinator

        def outgoing(context: Any) -> metadata.Pairs:
            # Agents get the sidecar's tickets, and must not collect tokens.
            return relay.passed_on(context, _is_option, tokens=mode == DURABLE)

        kind = self._shapes.kind(path.removeprefix("/"))
        handler = relay.handler(channel, path, kind, outgoing, observe=self.observe)
        if (tracer := traces.exported()) is not None:
            handler = traced_handler(handler, path.removeprefix("/"), tracer, passes_on=True)
        return self.admission.bounded(self._within_call_context(handler, path, mode))

    def _within_call_context(self, handler: Any, path: str, mode: str) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler. The call inherits from the call on whose behalf the app makes it: its time, its tree, its trace."""
        shape, behaviour = behaviour_of(handler)

        async def bounded(request: Any, context: Any) -> Any:
            given = context.invocation_metadata() or ()
            behind = self._calls.behind(given)
            if behind is not None:
                step = self._calls.step_of(behind, path.removeprefix("/"), given) if mode == DURABLE else ()
                context = _Bounded(context, behind, step)
            return await behaviour(request, context)

        made: grpc.RpcMethodHandler[Any, Any] = handler._replace(**{shape: bounded})
        return made


class _Bounded:
    """A call's context, with the time, the tree and the trace of another call."""

    def __init__(self, context: Any, behind: CallContext, more: metadata.Pairs) -> None:
        self._context = context
        self._behind = behind
        self._more = more

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> Any:
        """The call's own, and what it inherits."""
        return self._behind.added_to((*(self._context.invocation_metadata() or ()), *self._more), {})

    def time_remaining(self) -> float | None:
        """Seconds until the earlier deadline."""
        return self._behind.bounded_s(self._context.time_remaining(), time.monotonic())


class _Handlers(grpc.GenericRpcHandler):
    """Asks for each call's handler."""

    def __init__(self, handler: Callable[[grpc.HandlerCallDetails], Any]) -> None:
        self._handler = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler(handler_call_details)


def _with_token(context: Any) -> metadata.Pairs:
    # Without a token of the app's own, the connection shows the sidecar's.
    return relay.passed_on(context, tokens=True)


def _is_option(key: str) -> bool:
    # The receiver of the call refuses keys that are unknown, or not for calls of this mode.
    return key.startswith("weft-") and key not in _TOLD_KEYS


def _unknown(method: str) -> Unimplemented:
    # As any server answers for a method that it does not have.
    return refusals.method_unknown(
        f"no agent hosts {method}, and none has hosted it recently", method=method, called=True
    )


def _elsewhere(named: str, own: str) -> WeftError:
    return refusals.invalid_field(
        f"{NAMESPACE_KEY} is {named[:128]!r}, and this egress calls in {own or 'the namespace of its token'}: leave it out, or call a"
        " coordinator",
        field=NAMESPACE_KEY,
    )


def _refusal(error: WeftError) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(_requests: Any, context: Any) -> None:
        await relay.refuse(error, context)

    made: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(refuse)
    return made
