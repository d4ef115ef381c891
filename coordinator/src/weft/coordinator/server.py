"""A coordinator: what stands once in the process, around its meshes. Parts are started in order and stopped in the reverse order.

start: port bound ─► store (recovers) ─► tokens ─► the default mesh (`namespaces.namespace`) ─► port open ─► address file
stop:  the meshes ─► port closed ─► direct calls and store closed

A successor may take its place meanwhile (`handover`): `release` gives up what only one of the two can have, and the departure serves who is still connected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.audit.audit import Audit
from weft.coordinator.audit.audited_calls import AuditedCalls
from weft.coordinator.coordinator_figures import CoordinatorFigures
from weft.coordinator.handover import port_sockets
from weft.coordinator.handover.departing import Departing
from weft.coordinator.handover.departure import Departure
from weft.coordinator.handover.predecessor import Nobody, Predecessor
from weft.coordinator.hooks.hook_port import HookPort
from weft.coordinator.hooks.hook_tools import hook_secrets
from weft.coordinator.identity.identity import Identity
from weft.coordinator.join_port import JoinPort
from weft.coordinator.namespaces.coordinator_parts import CoordinatorParts
from weft.coordinator.namespaces.namespace import Namespace
from weft.coordinator.namespaces.namespace_hooks import NamespaceHooks
from weft.coordinator.namespaces.namespace_routes import NamespaceRoutes
from weft.coordinator.namespaces.namespace_service import NamespaceService
from weft.coordinator.namespaces.namespace_table import NamespaceTable
from weft.coordinator.namespaces.namespace_upkeep import NamespaceUpkeep
from weft.coordinator.namespaces.namespaces import Namespaces
from weft.coordinator.namespaces.store_events import NoUpkeep
from weft.coordinator.own_registration import OwnRegistration
from weft.coordinator.payload_sweeps import PayloadSweeps
from weft.coordinator.provisioning.provision_service import ProvisionService
from weft.coordinator.provisioning.requested_agent import MeshJoin
from weft.coordinator.server_port import bind, check_ports, relay_address, write_whole
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.choose import store_of
from weft.coordinator.store.row_peek import peek_row
from weft.coordinator.store.store_removal import remove
from weft.coordinator.store.table_store import RowDelete
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.http_door import HttpDoor, asks_scrapers
from weft.rpc.network.channel import make_server, server_options
from weft.rpc.network.exposure import Exposure
from weft.rpc.network.ports import open_port
from weft.rpc.network.routes import Routes
from weft.rpc.operators.channelz_port import ChannelzPort
from weft.rpc.process.logs import get_logger
from weft.rpc.security.process_tls import process_tls
from weft.rpc.telemetry.call_figures import CallFigures
from weft.rpc.telemetry.coordinator_metrics import CALLERS_LIMITED
from weft.rpc.telemetry.figures import Figures
from weft.rpc.telemetry.process_metering import ask_certificate, ask_denied
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.v1 import (
    audit_pb2_grpc,
    certificate_pb2_grpc,
    namespace_pb2_grpc,
    provision_pb2_grpc,
    security_pb2_grpc,
)

log = get_logger(__name__)

# How long a hand-over of an embedded store waits for the end of calls, while new ones wait for the successor.
SHORT_CALL_S = 0.1


class Coordinator:
    """A coordinator. `await start()`, then `address`; `await stop()` ends it.

    Large because what stands once is started, handed over and stopped in one order.

    Args:
        tracer: None: no traces are exported.
        shares_port: a successor may bind the same port.

    Raises:
        InvalidArgument: a file of certificates, or the store of payloads, cannot be used.

    Raises (from `start`):
        weft.coordinator.server_port.BindError: the address cannot be used.
        OperatorsBindError: that of the metrics, or of channelz, cannot be used.
        weft.coordinator.store.open_errors.StoreError: the store cannot be used.
        weft.coordinator.handover.handover_wire.HandoverError: the predecessor cannot be replaced.
    """

    _server: aio.Server | None = None
    address = ""
    _bound = ""
    # A successor has the store.
    _released = False

    def __init__(
        self,
        settings: CoordinatorSettings,
        store: Store | None = None,
        tracer: SpanTracer | None = None,
        *,
        shares_port: bool = False,
    ) -> None:
        self._settings, self.coordinator_id = settings, settings.process_name
        self._shares_port = shares_port
        self._store = store = store or store_of(settings.store_config)
        self._audit = Audit(store, settings)
        self.identity = Identity(store, settings, self._audit)
        self._audited = AuditedCalls(self._audit.log, self.identity.edge)
        tls = self.identity.tls or settings.tls
        self._tls = process_tls(tls)
        self._join: JoinPort | None = None
        if self.identity.tls is not None and self._tls.ports is not None:
            self._join = JoinPort(settings, self.identity, self._tls.ports, self._audited)
        self._payload_sweeps = PayloadSweeps(settings.payload_store)
        self._registration = OwnRegistration(settings.discovery, self.coordinator_id)
        self._channelz = ChannelzPort(settings.channelz, self._tls.ports)
        self._figures = CoordinatorFigures(settings.metrics, settings.metrics_methods, tls)
        ask_certificate(self._figures.figures, self._tls.ports)
        ports = {"coordinator": self.identity.edge.refused.counts}
        self._scrapes: HttpDoor | None = None
        members = self.identity.tls is not None
        if self.identity.edge.on and asks_scrapers(
            settings.metrics, tls, insecure=settings.insecure, members=members
        ):
            self._scrapes = self.identity.http_door()
            self._figures.admit(self._scrapes)
            ports["metrics"] = self._scrapes.refused.counts
        refused_hooks = self.identity.refused_hooks()
        if settings.hooks:
            ports["hooks"] = refused_hooks.counts
        ask_denied(self._figures.figures, ports)
        self._figures.figures.ask(CALLERS_LIMITED, self.identity.metering.refused)
        self._audit.measure(self._figures.figures)
        self._exposure = Exposure(allowed=settings.insecure)
        once = self.coordinator_id, self._tls, self.identity, tracer, self._exposure, self._audited
        self._parts = CoordinatorParts(settings, *once, self._where)
        # The mesh of those who name none.
        self.default = Namespace(store, self._parts, self)
        self._figures.add(self.default.figures)
        self.namespaces = Namespaces(
            NamespaceTable(store, settings.max_namespaces),
            make=self._make_namespace,
            ended=lambda mesh: self._figures.drop(mesh.figures),
        )
        hooks = NamespaceHooks(self.default.hooks, self.namespaces, hook_secrets(settings), self._peek)
        self._hooks = HookPort(settings.hooks, self._tls.ports, hooks, refused_hooks)
        # Open doors for other contracts.
        self._doors: list[Any] = []
        self._upkeep = NamespaceUpkeep(
            self.namespaces, lambda name: remove(settings.store_config.of_namespace(name))
        )

    def _where(self) -> str:
        return self._bound

    async def _peek(self, namespace: str, kind: str, key: str) -> bytes | None:
        """A row of a namespace that is not open here."""
        return await peek_row(self._settings.store_config.of_namespace(namespace), kind, key)

    def _make_namespace(self, name: str) -> Namespace:
        """The mesh of another namespace, not open yet."""
        config = self._settings.store_config.of_namespace(name)
        if not config.shared:
            Path(config.location).parent.mkdir(parents=True, exist_ok=True)
        made = Namespace(store_of(config), self._parts, NoUpkeep(), name)
        self._figures.add(made.figures, name)
        return made

    # -- what it keeps in the store (Upkeep) ------------------------------------------------------------------------

    def rows_changed(self, kind: str) -> bool:
        self._audit.rows_changed(kind)
        return self.identity.rows_changed(kind) or self._upkeep.rows_changed(kind)

    async def keep_house(self, now_s: float) -> None:
        self._audit.tick(now_s)
        if await self.identity.keep_house(now_s):
            for mesh in (self.default, *(each.mesh for each in self.namespaces.present().values())):
                mesh.tell_tokens_changed()
        await self._upkeep.keep_house(now_s)
        await self._audit.forget(now_s)

    # -- lifecycle ------------------------------------------------------------------------------------------------

    async def start(self, predecessor: Predecessor | None = None) -> None:
        """Recover the store, open the port, and be ready for work.

        Args:
            predecessor: whose place it takes. None: the place must be free.
        """
        predecessor = predecessor or Nobody()
        check_ports(self._exposure, self._settings, self._tls.ports.tls if self._tls.ports else None)
        server = self._make_server()
        # The port first: a second coordinator must not wait for a lock to learn that its port is taken.
        shared = self._shares_port and predecessor.shares
        before = port_sockets.listening() if self._shares_port else frozenset[int]()
        address = self._bound = await predecessor.bound(lambda: self._bind(server, exclusive=not shared))
        port = int(address.rpartition(":")[2]) if not address.startswith("unix:") else 0
        own = port_sockets.listening() - before if self._shares_port else before
        self.departure = Departure(
            self._departing, self._meshes, shared=self._store.shared, port=port, sockets=own
        )
        relay = self._open_relay(server) if shared else ""
        if self._join is not None:
            self._join.bind()
        if self._scrapes is not None:
            self._scrapes.open()
        self._figures.bind()
        await self._channelz.start()
        await self._hooks.bind()
        await predecessor.opened(self.default.open)
        await self._audit.start()
        await self.identity.start()
        await self.default.start()
        await self._figures.start()
        await server.start()
        await self._hooks.start()
        self._payload_sweeps.start()
        self._server, self.address = server, address
        if self._join is not None:
            await self._join.start(address)
        if self._settings.address_file is not None:
            write_whole(self._settings.address_file, address)
        self._registration.start(address, self._tls.server_name)
        log.info(
            "coordinator.ready",
            address=self.address,
            store=self._settings.store_place,
            durability=self._settings.durability,
            unfinished=self.default.unfinished(),
        )
        await predecessor.served(relay)

    def _bind(self, server: aio.Server, *, exclusive: bool) -> str:
        return bind(server, self._settings.listen, self._tls.ports, exclusive=exclusive and self._shares_port)

    def _open_relay(self, server: aio.Server) -> str:
        """Let the predecessor pass calls on to this process; returns where. Empty: callers show certificates, which it could not pass on."""
        if self._tls.ports is not None and (self._tls.ports.tls.client_ca or self.identity.tls is not None):
            return ""
        address = relay_address(self._bound)
        open_port(server, address)
        return address

    def _make_server(self) -> aio.Server:
        settings = self._settings
        server = make_server(
            server_options(
                max_message_bytes=settings.max_message_bytes,
                stalled_s=settings.stalled_stream_s,
                max_streams=settings.max_streams,
                max_connections=settings.max_connections,
                idle_s=settings.idle_connection_s,
                age_s=settings.connection_age_s,
                shares_port=self._shares_port,
            )
        )
        common, own, identity = Routes(), Routes(), self.identity
        timing = CallFigures(self.figures)
        edge, services = identity.edge, guard.Lenient(common, self._audited.around(timing.timed_handler))
        security_pb2_grpc.add_TokenServiceServicer_to_server(identity.service, services)
        namespace_pb2_grpc.add_NamespaceServiceServicer_to_server(
            NamespaceService(self.namespaces, edge), services
        )
        provisioning = ProvisionService(
            identity.table, edge, lambda: MeshJoin(identity.pin, identity.certificates.join_port)
        )
        provision_pb2_grpc.add_ProvisionServiceServicer_to_server(provisioning, services)
        certificate_pb2_grpc.add_CertificateServiceServicer_to_server(identity.certificates, services)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self._audit.service, services)
        self._open_doors(services)
        self.default.serve_on(own)
        routes = NamespaceRoutes(own, common, self.namespaces)
        self._departing = Departing(identity.guarded(routes), settings.max_calls)
        server.add_generic_rpc_handlers((self._departing,))
        return server

    def _open_doors(self, services: Any) -> None:
        parts = self.default, self.namespaces, self.identity.edge, self._settings, services
        if self._settings.keda:
            from weft.coordinator.doors.keda import external_scaler

            self._doors.append(external_scaler.served(*parts))
        if self._settings.xds:
            from weft.coordinator.doors.xds import aggregated_discovery

            self._doors.append(aggregated_discovery.served(*parts))

    async def release(self) -> None:
        """Give up for a successor what only one of two coordinators can have: all ports but its own, and an embedded store. With a Redis everything
        else goes on."""
        grace_s = self._settings.stop_grace_s
        self.departure.begin()
        await self._close_doors(grace_s)
        await self._close_lookouts()
        if not self._store.shared:
            # Most calls are short. Those that are not are answered by what the successor tells.
            await self.departure.finish_calls(min(grace_s, SHORT_CALL_S))
            await self._end_meshes(self.departure.moved)
            await self._close_store()
            self._released = True

    def unfinished(self) -> int:
        """Tasks of all meshes that have not ended, as far as this process holds them."""
        return sum(mesh.unfinished() for mesh in self._meshes())

    def _meshes(self) -> Iterator[Namespace]:
        yield self.default
        for each in self.namespaces.present().values():
            yield each.mesh

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop in order; each step is bounded. Tasks and results stay in the store."""
        grace_s = self._settings.stop_grace_s if grace_s is None else grace_s
        log.info("coordinator.stopping")
        await self._registration.stop()
        await self._close_doors(grace_s)
        if not self._released:
            await self._end_meshes()
        if self._server is not None:
            self.departure.end()
            await self._server.stop(grace_s)
            await self.departure.ended()
        if not self._released:
            await self._close_store()
        await self._close_lookouts()
        self._exposure.close()
        self.identity.close()
        log.info("coordinator.stopped")

    async def _close_doors(self, grace_s: float) -> None:
        """Close the ports of others than operators, but for the coordinator's own."""
        await self._payload_sweeps.stop()
        await self._hooks.stop(min(grace_s, 5.0))
        if self._join is not None:
            await self._join.stop(grace_s)

    async def _close_lookouts(self) -> None:
        """Close the ports of operators."""
        await self._figures.stop()
        await self._channelz.stop()

    async def _end_meshes(self, moved: WeftError | None = None) -> None:
        """
        Args:
            moved: what ends them. None: the coordinator is stopping.
        """
        why = moved or refusals.stopping("the coordinator is stopping; dial again", retry_after_s=1.0)
        for door in self._doors:
            door.close(why)
        await self.namespaces.stop(why)
        await self.default.stop(moved)

    async def _close_store(self) -> None:
        await self._audit.stop()
        await self.default.close()

    async def probe_store(self) -> None:
        """Send the store a change of nothing, which goes the way of all changes. Nothing is sent to a store that is known to be away, or cannot be
        written: what tries it again is there already.

        Raises:
            Unavailable: the store is away, or cannot be written. It has answered, though, or its time is over.
        """
        if self._store.writable:
            await self._store.delete_rows([RowDelete("probe", "probe")])

    def status_line(self) -> str:
        """How it is, for people."""
        told = f"serves at {self.address}"
        return told if self._store.writable else f"{told}; its store cannot be written"

    @property
    def hooks_address(self) -> str:
        """Where it takes webhooks; empty: nowhere."""
        return self._hooks.address

    @property
    def figures(self) -> Figures:
        """Its metrics."""
        return self._figures.figures

    async def wait(self) -> None:
        """Wait until the server has ended."""
        if self._server is not None:
            await self._server.wait_for_termination()
