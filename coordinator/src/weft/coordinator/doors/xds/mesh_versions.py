"""A version of all resources of a mesh. Made once for each change of the fleet, and shared by all streams."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping

from weft.coordinator.doors.xds import resources
from weft.coordinator.doors.xds.callable_services import CallableService, callable_services
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
        self._repeatable = repeatable
        self._shows_certificate = shows_certificate
        self.latest = MeshVersion(self._process, 0, {}, None)

    def take(self, agents: Iterable[fleet_pb2.Agent]) -> bool:
        """Take the agents that watchers know now. False: nothing that clients are told has changed."""
        services = callable_services(agents, self._repeatable)
        before = self.latest
        if self._number and services == before.services:
            return False
        self._number += 1
        made = MeshVersion(self._process, self._number, services, before)
        for name, service in services.items():
            own = resources.own_clusters(service)
            clusters = {name: service.ports, **{method: service.methods[method].ports for method in own}}
            if service == before.services.get(name):
                for type_url in (resources.LISTENER, resources.ROUTES):
                    made.reuse(type_url, name)
                for each in clusters:
                    made.reuse(resources.CLUSTER, each)
                    made.reuse(resources.ENDPOINTS, each)
                continue
            made.put(resources.LISTENER, name, resources.listener(name))
            made.put(resources.ROUTES, name, resources.routes(name, service))
            for each, ports in clusters.items():
                told = resources.cluster(each, ports, shows_certificate=self._shows_certificate)
                made.put(resources.CLUSTER, each, told)
                made.put(resources.ENDPOINTS, each, resources.endpoints(each, ports))
        self.latest = made.made()
        return True
