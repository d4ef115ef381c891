"""A version of all resources of a mesh. Made once for each change of the fleet, and shared by all streams."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping

from weft.coordinator.doors.xds import resources
from weft.coordinator.doors.xds.callable_services import (
    AgentFacts,
    CallableService,
    agent_facts,
    callable_service,
)
from weft.v1 import fleet_pb2

# Serialized answers that are kept of a version: clients of the same services share them.
_KEPT = 256


class MeshVersion:
    """The resources of a version, by type and name. What is as before is the same object as before.

    Attributes:
        version: as clients see it. Another process' is another one.
        services: what the resources are made of.
    """

    def __init__(
        self, process: str, number: int, services: Mapping[str, CallableService], before: MeshVersion | None
    ) -> None:
        self.version = f"{process}.{number}"
        self.services = services
        self.by_type: Mapping[str, dict[str, bytes]] = {
            resources.CLUSTER: {},
            resources.ENDPOINTS: {},
            resources.LISTENER: {},
            resources.ROUTES: {},
        }
        self._before = {} if before is None else before.by_type
        self._bodies: dict[tuple[str, tuple[str, ...]], bytes] = {}

    def put(self, type_url: str, name: str, made: bytes) -> None:
        known = self._before[type_url].get(name) if self._before else None
        self.by_type[type_url][name] = made if known is None or known != made else known

    def reuse(self, type_url: str, name: str) -> None:
        self.by_type[type_url][name] = self._before[type_url][name]

    def made(self) -> MeshVersion:
        """This, when all resources are in."""
        self._before = {}
        return self

    def body(self, type_url: str, names: tuple[str, ...]) -> bytes:
        """The answer that has these resources, without its nonce."""
        if (found := self._bodies.get((type_url, names))) is None:
            if len(self._bodies) >= _KEPT:
                self._bodies.clear()
            table = self.by_type[type_url]
            found = resources.response(self.version, type_url, [table[name] for name in names])
            self._bodies[type_url, names] = found
        return found


class MeshVersions:
    """Makes them.

    Args:
        repeatable: whether a call of a method may run twice, by its contract.
        shows_certificate: clients show agents a certificate, if these have TLS.
    """

    def __init__(self, repeatable: Callable[[str], bool], *, shows_certificate: bool) -> None:
        self._process = secrets.token_hex(4)
        self._number = 0
        # By their ids: agents, as they were seen last, and what is told of them.
        self._known: dict[str, tuple[fleet_pb2.Agent, AgentFacts]] = {}
        self._repeatable = repeatable
        self._shows_certificate = shows_certificate
        self.latest = MeshVersion(self._process, 0, {}, None)

    def take(self, agents: Iterable[fleet_pb2.Agent]) -> bool:
        """Take the agents that watchers know now. False: nothing that clients are told has changed.

        Args:
            agents: one that has changed is another object.
        """
        changed = self._changed(agents)
        if self._number and not changed:
            return False
        before = self.latest
        services = {name: found for name, found in before.services.items() if name not in changed}
        hosts = [facts for _, facts in self._known.values()]
        for name in sorted(changed):
            if (found := callable_service(name, hosts, self._repeatable)) is not None:
                services[name] = found
        self._number += 1
        made = MeshVersion(self._process, self._number, services, before)
        for name, service in services.items():
            if service is before.services.get(name):
                self._keep(made, name, service)
            else:
                self._make(made, name, service)
        self.latest = made.made()
        return True

    def _changed(self, agents: Iterable[fleet_pb2.Agent]) -> set[str]:
        """Take the agents; the services of those that have changed."""
        known, changed = self._known, set[str]()
        self._known = {}
        for agent in agents:
            before = known.pop(agent.id, None)
            if before is not None and before[0] is agent:
                self._known[agent.id] = before
                continue
            facts = agent_facts(agent)
            self._known[agent.id] = agent, facts
            if before is None or before[1] != facts:
                changed.update(facts.methods, () if before is None else before[1].methods)
        for _, gone in known.values():
            changed.update(gone.methods)
        return changed

    def _keep(self, made: MeshVersion, name: str, service: CallableService) -> None:
        for type_url in (resources.LISTENER, resources.ROUTES):
            made.reuse(type_url, name)
        for each in resources.clusters(name, service):
            made.reuse(resources.CLUSTER, each)
            made.reuse(resources.ENDPOINTS, each)

    def _make(self, made: MeshVersion, name: str, service: CallableService) -> None:
        made.put(resources.LISTENER, name, resources.listener(name))
        made.put(resources.ROUTES, name, resources.routes(name, service))
        for each, ports in resources.clusters(name, service).items():
            told = resources.cluster(each, ports, shows_certificate=self._shows_certificate)
            made.put(resources.CLUSTER, each, told)
            made.put(resources.ENDPOINTS, each, resources.endpoints(each, ports))
