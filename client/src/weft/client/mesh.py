"""The entry point: `connect(target)` gives a `Mesh`, a connection to a coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc.aio
from google.protobuf.message import Message

from weft.client.api import DEFAULT_TIMEOUT_S, Api, Unreachable
from weft.client.budgets import Budgets
from weft.client.direct_calls import Direct
from weft.client.fleet import Fleet
from weft.client.group_handle import GroupHandle
from weft.client.groups import Groups, Then
from weft.client.inheriting_channel import InheritingChannel
from weft.client.keyed_states import KeyedStates
from weft.client.mesh_tokens import Tokens
from weft.client.method_overrides import Methods
from weft.client.pools import Pools
from weft.client.schedules import Schedules
from weft.client.selected_agents import CommandOutcome
from weft.client.stats_snapshot import CoordinatorStats, stats_of
from weft.client.tasks import Tasks
from weft.client.usage_snapshot import UsageBy, UsageReport, usage_of
from weft.rpc.balancing import Balancer
from weft.rpc.membership.present_tls import present, security_of
from weft.rpc.network.channel import MAX_MESSAGE_BYTES, Route
from weft.rpc.network.targets import DEFAULT_TARGET, dialled, is_source, parse
from weft.rpc.payloads.payload_options import Payloads
from weft.rpc.payloads.process_payloads import payload_coder
from weft.rpc.process.home_loop import HomeLoop
from weft.rpc.registries.coordinator_channel import dial_any
from weft.rpc.registries.resolved_targets import resolved
from weft.rpc.security.namespace_names import chosen_namespace
from weft.rpc.security.own_proof import own_proof
from weft.rpc.security.tls import Tls, chosen
from weft.rpc.security.token_source import token_source

if TYPE_CHECKING:
    from weft.client.event_subscriptions import Subscriptions
    from weft.client.events import Events
    from weft.client.mesh_namespaces import MeshNamespaces
    from weft.client.webhooks import Webhooks

DEFAULT_PATIENCE_S = 60.0
DEFAULT_POLICY = "least_connections"


def connect(
    target: str | Sequence[str] = DEFAULT_TARGET,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    patience_s: float = DEFAULT_PATIENCE_S,
    use_proxy: bool = False,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    tls: Tls | bool | None = None,
    token: str | Path | None = None,
    payloads: Payloads | bool | None = None,
    namespace: str | None = None,
) -> Mesh:
    """A connection to a coordinator. It dials at its first use, and again when it is lost.

        async with connect("127.0.0.1:7700") as mesh:
            reply = await AnalystStub(mesh.channel()).Analyze(request, timeout=60)

    Args:
        target: "host:port" or "unix:path"; a source of addresses, such as "consul://host:8500/weft"; or several "host:port", in a list or
            with commas. If the connection to one is lost, the next call goes to another. Names in a list are resolved once: if addresses change, give one name for all, which is resolved again.
        timeout_s: deadline of an API call, repeats included, unless the call has its own.
        patience_s: how long waits and streams go on while no coordinator can be reached.
        use_proxy: reach the coordinator by the proxy of the environment (`grpc_proxy`, `https_proxy` or `http_proxy`,
            without the hosts of `no_proxy`). Agents are never reached by a proxy.
        max_message_bytes: largest request or response of a direct call.
        tls: the certificates to verify others by, and to show; True: verify by the authorities of the operating system;
            False: no TLS. Default: by the variables WEFT_TLS_CA, WEFT_TLS_CERT, WEFT_TLS_KEY and WEFT_TLS_SERVER_NAME;
            without them, no TLS. With a pin (`Tls(pin=…)`, WEFT_TLS_PIN), the process joins a mesh that makes certificates by itself,
            in `async with`, or else at its first use, which then blocks for a moment.
        token: the token that calls show, or the path of a file that has it, which is read again when it changes. Default: by the
            variables WEFT_TOKEN and WEFT_TOKEN_FILE. It is sent by TLS, or to this machine, only.
        payloads: how requests are compressed, encrypted or put into a store, and responses read. False: they are as they are.
            Default: by the variables WEFT_PAYLOAD_KEYS_FILE, WEFT_PAYLOAD_COMPRESSION and WEFT_PAYLOAD_STORE.
        namespace: that of its calls: tasks, agents and all else of others cannot be seen. Default: by the variable WEFT_NAMESPACE;
            without it, the one that the token names, or `default`.

    Raises:
        InvalidArgument: the target is malformed, or a file of certificates, the token or the namespace cannot be used.
        MissingExtra (at the first use): a source of addresses needs packages that are not installed.
    Raises (at the first use, with a pin):
        Unavailable: the mesh cannot be joined now; and what a coordinator refuses.
    """
    return Mesh(
        target,
        timeout_s=timeout_s,
        patience_s=patience_s,
        use_proxy=use_proxy,
        max_message_bytes=max_message_bytes,
        tls=tls,
        token=token,
        payloads=payloads,
        namespace=namespace,
    )


class Mesh:
    """A client's connection to one coordinator, or to several on one store. Belongs to the event loop in which it is first used.

    Large because programs reach all parts of the library from one object.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        timeout_s: float,
        patience_s: float,
        use_proxy: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        tls: Tls | bool | None = None,
        token: str | Path | None = None,
        payloads: Payloads | bool | None = None,
        namespace: str | None = None,
    ) -> None:
        # How payloads are coded; None: they are not.
        self.coder = payload_coder(payloads)
        self._namespace = chosen_namespace(namespace)
        self._targets = parse(target)
        self._use_proxy = use_proxy
        self._tls, self._token = chosen(tls), token_source(token)
        # With a pin, there is none before the first use.
        self._known_route = None if self._tls is not None and self._tls.pin else self._make_route()
        self.target: str = ",".join(self._targets)
        # The target for gRPC, with names resolved. Empty until the first use.
        self._dialled = ""
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._max_message_bytes = max_message_bytes
        self._channel: grpc.aio.Channel | None = None
        self._home = HomeLoop(f"the mesh at {self.target}", "call connect(...)")
        self._directs: dict[str, Direct] = {}

    def channel(self, *, direct: bool = False, policy: str = DEFAULT_POLICY) -> grpc.aio.Channel:
        """A channel for any generated stub.

        Its calls are durable: each is a task, whose end the call waits for. `weft.client.call_options` makes metadata that says how to run the
        task. With `direct`, each call goes straight to an agent, chosen by load, and nothing is stored. A handler's calls inherit the rest of
        its own call's deadline, and its trace. Closing the channel does nothing; `close` of the mesh ends its calls.

        Args:
            direct: call the agents directly. The first call waits until they are known.
            policy: how direct calls are balanced: "least_connections", "round_robin" or "weighted".

        Raises:
            InvalidArgument: there is no such policy.
            WrongEventLoop: no event loop runs here, or another one than where the mesh was used first.
            MeshClosed: the mesh is closed.
        """
        plain = self.direct(policy).channel() if direct else InheritingChannel(self._plain(), self._home)
        if self.coder is None:
            return plain
        from weft.client.coded_channel import CodedChannel

        return CodedChannel(plain, self.coder, direct=direct)

    def direct(self, policy: str = DEFAULT_POLICY) -> Direct:
        """Direct calls with a policy: `explain` tells which agent the next call would go to."""
        self._home.check()
        made = self._directs.get(policy)
        if made is None:
            parts = self._plain(), policy, self._max_message_bytes, self._route
            made = self._directs[policy] = Direct(*parts)
        return made

    @property
    def balancers(self) -> Sequence[Balancer]:
        """Those of its direct channels, for figures. From any thread."""
        return [each.balancer for each in list(self._directs.values())]

    @property
    def _route(self) -> Route:
        if self._known_route is None:
            self._known_route = self._make_route()
        return self._known_route

    def _make_route(self) -> Route:
        """How coordinators are reached. With a pin, it joins the mesh, which may block for some seconds."""
        tls, token = present(self._tls, self._targets, self._token)
        return Route(self._use_proxy, security_of(tls), own_proof(token, tls), self._namespace)

    def _plain(self) -> grpc.aio.Channel:
        """The connection itself. The API's own calls inherit nothing, because several callers share some of them."""
        self._home.check()
        if self._channel is None:
            self._channel = dial_any(self._targets, self._route, known=self._dialled)
        return self._channel

    @cached_property
    def tasks(self) -> Tasks:
        """Durable calls as tasks."""
        return Tasks(self._api, patience_s=self._patience_s)

    @cached_property
    def schedules(self) -> Schedules:
        """Tasks that the mesh submits by itself."""
        return Schedules(self._api, self.tasks)

    @cached_property
    def events(self) -> Events:
        """Messages that are published to all who subscribe."""
        from weft.client.events import Events

        return Events(self._api, self._patience_s)

    @cached_property
    def pools(self) -> Pools:
        """Agents that coordinators start and keep at their number. For operators."""
        return Pools(self._api)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """Durable subscriptions: events that become tasks, or that consumers share."""
        from weft.client.event_subscriptions import Subscriptions

        return Subscriptions(self._api, self._patience_s)

    @cached_property
    def hooks(self) -> Webhooks:
        """Webhooks: signed requests of other systems, which become tasks or events."""
        from weft.client.webhooks import Webhooks

        return Webhooks(self._api)

    @cached_property
    def groups(self) -> Groups:
        """Tasks that belong together, by the names of their groups."""
        return Groups(self._api)

    def group(self, name: str, *, then: Then | None = None) -> GroupHandle:
        """A group to submit into. As a context manager it makes the group, and closes it at the end of the block.

        Args:
            name: 1 to 128 letters, digits, '.', '_', '-' and '/'.
            then: the callback at its end.

        Raises:
            WrongEventLoop: no event loop runs here, or another one than where the mesh was used first.
            MeshClosed: the mesh is closed.
        """
        self._home.check()
        return GroupHandle(self.groups, self.tasks, name, then)

    @cached_property
    def fleet(self) -> Fleet:
        """Agents and queues."""
        return Fleet(self._api, self.tasks)

    async def broadcast(
        self,
        message: Message | Mapping[str, Any],
        *,
        agent_ids: Sequence[str] = (),
        method: str = "",
        labels: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Sequence[CommandOutcome[None]]:
        """Send a message to the programs of all connected agents (`Agent.on_message`), or of those for which all of this holds. Nothing is stored;
        for responses there is `fleet.call_all`, for something that is kept `events.publish`. Gives the outcome of each agent that takes such messages.

        Args:
            message: of any type; a dict is sent as a `google.protobuf.Struct`.
            agent_ids: these agents.
            method: those that host it, by full name.
            labels: those that have these labels.
            timeout_s: how long an agent may take to answer that it has the message.

        Raises:
            WeftError: the coordinator has refused it, or cannot be reached.
        """
        everything = not (agent_ids or method or labels)
        selected = self.fleet.select(*agent_ids, method=method, labels=labels, everything=everything)
        return [outcome async for outcome in selected.tell(message, timeout_s=timeout_s)]

    @cached_property
    def methods(self) -> Methods:
        """Methods and their task policies."""
        return Methods(self._api)

    @cached_property
    def tokens(self) -> Tokens:
        """What callers show where coordinators ask for it. For operators."""
        return Tokens(self._api)

    @cached_property
    def namespaces(self) -> MeshNamespaces:
        """Meshes of their own behind the same ports."""
        from weft.client.mesh_namespaces import MeshNamespaces

        return MeshNamespaces(self._api)

    @cached_property
    def keyed_states(self) -> KeyedStates:
        """The small values that locks keep."""
        return KeyedStates(self._api)

    @cached_property
    def budgets(self) -> Budgets:
        """Bounds on what tasks may use."""
        return Budgets(self._api)

    async def usage(
        self, by: UsageBy = "method", *, start: datetime | None = None, end: datetime | None = None
    ) -> UsageReport:
        """What tasks have used, over all coordinators; of the others all but the last ten seconds.

        Args:
            by: "method", "agent", "root_task" or "time": hours up to two days, else days (UTC).
            start: rounded down to a whole hour or day. None: a day before the end. Hours are kept for 8 days, days for 400.
            end: None: now.

        Raises:
            InvalidArgument: `by` is none of these, or the start is after the end.
        """
        return await usage_of(self._api, by, start, end)

    async def stats(self, method: str = "", *, window_s: float = 300.0) -> CoordinatorStats:
        """What happened to the tasks of each method in the last minutes, at the coordinator that answers.

        Args:
            method: only this method, by full name; empty: all.
            window_s: how far back, from 10 to 300 seconds.

        Raises:
            InvalidArgument: the window is shorter or longer.
        """
        return await stats_of(self._api, method, window_s)

    @cached_property
    def _api(self) -> Api:
        return Api(
            self._plain(),
            self.target,
            timeout_s=self._timeout_s,
            home=self._home,
            security=self._route.security,
            coder=self.coder,
        )

    async def ready(self, timeout_s: float = 5.0) -> None:
        """Wait until the coordinator is connected.

        Raises:
            Unreachable: it is not, within the time.
        """
        from weft.rpc.network.connection_faults import ConnectionFault, connected

        try:
            async with asyncio.timeout(timeout_s):
                await connected(self._plain(), self.target, self._route.security)
        except ConnectionFault as fault:
            raise Unreachable(self.target, str(fault)) from None
        except TimeoutError:
            raise Unreachable(self.target, f"tried for {timeout_s:g} s") from None

    async def close(self) -> None:
        """End all waits and calls, and close the connections."""
        self._home.close()
        if self._home.elsewhere:
            # Its connections belonged to another loop, and ended with that loop.
            return
        if "tasks" in self.__dict__:
            await self.tasks.close()
        for direct in self._directs.values():
            await direct.close()
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        if self._known_route is None:
            self._known_route = await asyncio.to_thread(self._make_route)
        # Resolving a name may take long, and so may the first addresses of a source.
        if is_source(self._targets[0]):
            await asyncio.to_thread(resolved, self._targets)
        elif len(self._targets) > 1 and not self._dialled:
            self._dialled = await asyncio.to_thread(dialled, self._targets)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
