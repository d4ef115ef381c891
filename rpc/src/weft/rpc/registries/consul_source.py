"""Addresses of a service in Consul: instances whose checks pass. Each query waits at Consul for the next change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from weft.rpc.network.registry_url import COORDINATORS, RegistryUrl
from weft.rpc.registries.address_source import RegistryError, checked, endpoint
from weft.rpc.registries.consul_api import ConsulApi

# The least time between two queries: what changes all the time must not be followed all the time.
PAUSE_S = 0.5
# Without an index a query does not wait.
POLL_S = 5.0


class ConsulSource:
    """Follows the service."""

    def __init__(self, url: RegistryUrl) -> None:
        self._url = url

    async def sets(self) -> AsyncIterator[Sequence[str]]:
        api = ConsulApi(self._url)
        index, known = 0, None
        try:
            while True:
                found, index = await api.healthy(self._url.service or COORDINATORS, index)
                addresses = checked(list(map(address_of, found)))
                if frozenset(addresses) != known:
                    known = frozenset(addresses)
                    yield random.sample(addresses, len(addresses))
                await asyncio.sleep(PAUSE_S if index else POLL_S)
        finally:
            await api.close()


def address_of(instance: Any) -> str:
    """An instance's address: its own, or else its node's.

    Raises:
        RegistryError: it has none.
    """
    try:
        service = instance["Service"]
        host = service["Address"] or instance["Node"]["Address"]
        port = service["Port"]
    except (KeyError, TypeError, IndexError):
        raise RegistryError("Consul tells of an instance without an address") from None
    return endpoint(host, port)
