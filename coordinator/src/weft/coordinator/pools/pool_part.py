"""Pools as a part of a mesh: their service, and a driver for each provider that the coordinator may use."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.registered_agent import RegisteredAgent
from weft.coordinator.identity.identity import Identity
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.pools.member_start import MemberJoin, MemberStart, own_target, tls_variables
from weft.coordinator.pools.pool_codec import KIND
from weft.coordinator.pools.pool_creation import PoolCreation
from weft.coordinator.pools.pool_driver import FleetAccess, PoolDriver
from weft.coordinator.pools.pool_news import PoolNews, Publish
from weft.coordinator.pools.pool_plan import Load, SeenAgent
from weft.coordinator.pools.pool_service import FleetService
from weft.coordinator.pools.pool_table import PoolTable
from weft.coordinator.pools.provider import ProviderSetting
from weft.coordinator.pools.provider_catalogue import known_providers
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Owner
from weft.rpc.errors import NotFound, WeftError
from weft.v1 import fleet_pb2, pool_pb2_grpc

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TAKING = frozenset(
    {fleet_pb2.AGENT_STATE_ACTIVE, fleet_pb2.AGENT_STATE_PAUSED, fleet_pb2.AGENT_STATE_DRAINING}
)


class PoolHome(NamedTuple):
    """The coordinator that pools are in.

    Attributes:
        address: where it serves, once that is known.
        namespace: empty: the default one.
    """

    settings: CoordinatorSettings
    coordinator_id: str
    identity: Identity
    address: Callable[[], str]
    namespace: str


class PoolPart(MeshPart):
    """The pools of a mesh."""

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        sessions: Sessions,
        home: PoolHome,
        publish: Publish,
    ) -> None:
        self._store, self._register, self._sessions = store, register, sessions
        settings, identity = home.settings, home.identity
        setting = ProviderSetting(
            _mark(settings, home.namespace),
            folder=settings.pool_folder,
            alone_s=settings.pool_alone_s,
            changed=self.fleet_moved,
        )
        self._drivers: dict[str, PoolDriver] = {}
        known = known_providers(settings.pool_providers, setting)
        table = PoolTable(store, PoolNews(publish))
        joining = MemberJoin(
            lambda: settings.pool_target or own_target(home.address()),
            home.namespace,
            identity.table if identity.edge.on else None,
            lambda target: tls_variables(
                target, pin=identity.pin, join_port=identity.certificates.join_port, ca=settings.tls_ca
            ),
        )
        start = MemberStart(joining, _draw)
        for each in known.values():
            if each.provider is not None:
                self._drivers[each.name] = PoolDriver(
                    table,
                    each.provider,
                    start,
                    FleetAccess(self._seen, self._desire, self._leave, self._load),
                    home.coordinator_id,
                    alone=not store.shared,
                )
        # Makes pools, also imported ones.
        self.creation = PoolCreation(table, known)
        self._service = FleetService(
            table,
            self.creation,
            known,
            lambda: {name: each.problem for name, each in self._drivers.items()},
            identity.edge,
        )

    def add_to(self, server: Any) -> None:
        pool_pb2_grpc.add_FleetServiceServicer_to_server(self._service, server)

    def start(self) -> None:
        for driver in self._drivers.values():
            driver.start()

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002
        for driver in self._drivers.values():
            await driver.stop()

    def rows_changed(self, kind: str) -> bool:
        if kind == KIND:
            for driver in self._drivers.values():
                driver.rows_changed()
        return False

    def fleet_moved(self) -> None:
        for driver in self._drivers.values():
            if driver.has_pools:
                driver.changed()

    @property
    def keeps_open(self) -> bool:
        return any(driver.has_pools for driver in self._drivers.values())

    # -- agents ---------------------------------------------------------------------------------------------------

    def _seen(self, agent_ids: Sequence[str]) -> Mapping[str, SeenAgent]:
        entries = ((agent_id, self._register.get(agent_id)) for agent_id in agent_ids)
        return {agent_id: _seen(entry) for agent_id, entry in entries if entry is not None}

    async def _load(self, methods: Sequence[str], agents: Mapping[str, SeenAgent]) -> Load:
        """The work of some methods, and what agents run besides."""
        elsewhere = [agent_id for agent_id in agents if self._register.is_elsewhere(agent_id)]
        loads = await self._store.loads(elsewhere) if elsewhere else {}
        used = sum(agent.used for agent in agents.values())
        used += sum(fleet_pb2.Agent.FromString(load).used_slots for load in loads.values())
        found = [depth for key, depth in (await self._store.depths()).items() if key.method in methods]
        return Load(sum(each.queued for each in found), sum(each.running for each in found), used)

    async def methods(self) -> set[str]:
        return set().union(*(driver.rows.methods() for driver in self._drivers.values()))

    async def _desire(self, agent_id: str, desired: fleet_pb2.DesiredState) -> None:
        try:
            if await self._store.set_desired(agent_id, desired):
                self._sessions.set_desired(agent_id, desired)
        except NotFound:
            return

    async def _leave(self, agent_id: str) -> None:
        """End the session of an agent whose processes stand still."""
        agent = self._register.description(agent_id)
        if not self._sessions.say_goodbye_for(agent_id) and agent is not None:
            await self._store.retire(Owner(agent_id, agent.epoch))


def _seen(entry: RegisteredAgent) -> SeenAgent:
    agent, session = entry.agent, entry.session
    if session is not None:
        ready, in_flight = session.open and session.accepted, len(session.held)
        used = session.busy_slots
    else:
        ready, in_flight, used = agent.state in _TAKING, 0, 0
    serves = not agent.methods or not all(method.unavailable for method in agent.methods)
    return SeenAgent(
        connected=entry.connected,
        ready=ready and serves,
        desired=agent.desired_state or fleet_pb2.DESIRED_STATE_ACTIVE,
        in_flight=in_flight,
        failing=agent.failing,
        methods=entry.methods.keys(),
        used=used,
        here=entry.has_session,
    )


def _draw(digits: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(digits))


def _mark(settings: CoordinatorSettings, namespace: str) -> str:
    """The mark of a mesh: its store, and where its members' keeper is."""
    config = settings.store_config.of_namespace(namespace) if namespace else settings.store_config
    place = settings.store_place if settings.shared_store else str(Path(config.location).absolute())
    text = f"{place}\0{config.prefix}\0{namespace}\0{settings.pool_folder}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]
