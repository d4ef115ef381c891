"""What a registrar is, and what it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from weft.rpc.network.registry_url import COORDINATORS

_NO_LABEL = re.compile(r"[^a-z0-9-]+")
_MAX_LABEL = 63


class Entry(NamedTuple):
    """One service of one process.

    Attributes:
        id: unique in the registry, and the same after a restart of an agent.
        service: a gRPC service by its full name; that of coordinators' for coordinators.
        owner: the id of the agent or coordinator.
        host: an IP address, without brackets, or a name.
        port: its port.
        tls_name: a name in its certificate; empty: it has no TLS.
    """

    id: str
    service: str
    owner: str
    host: str
    port: int
    tls_name: str

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def label(self) -> str:
        """The service's name as DNS, Consul and Kubernetes allow it: `acme-v1-greeter`."""
        return label_of(self.service)


class Registrar(Protocol):
    """Writes entries into a registry. Used by one event loop. Each call is bounded, and may be repeated.

    Raises (from each):
        RegistryError: it cannot be done now.
    """

    async def put(self, entries: Sequence[Entry]) -> None:
        """Write entries, or change them."""

    async def refresh(self, entries: Sequence[Entry]) -> None:
        """Tell that the owner of the entries lives; write those again that are lost."""

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Remove entries. Harmless if they are gone."""

    async def close(self) -> None:
        """Close the connections."""


def label_of(service: str) -> str:
    """A service's name of a-z 0-9 -."""
    return _NO_LABEL.sub("-", service.lower()).strip("-")[:_MAX_LABEL].rstrip("-") or COORDINATORS
