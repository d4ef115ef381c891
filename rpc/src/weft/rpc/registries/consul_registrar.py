"""Services in Consul, at the Consul agent that is asked: each with a check that ends by itself when its process is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from weft.rpc.network.registry_url import COORDINATORS, RegistryUrl
from weft.rpc.registries.consul_api import ConsulApi
from weft.rpc.registries.registrar import Entry

# Consul's own least time.
_FORGET_S = 60.0


class ConsulRegistrar:
    """Registers services. Services of other processes are left alone.

    Raises:
        RegistryError: a file of certificates cannot be used.
    """

    def __init__(self, url: RegistryUrl) -> None:
        self._url = url
        self._api = ConsulApi(url)

    async def put(self, entries: Sequence[Entry]) -> None:
        for each in entries:
            await self._api.register(self._service(each))

    async def refresh(self, entries: Sequence[Entry]) -> None:
        tell = self._api.passed if self._url.check == "ttl" else self._api.knows
        known = await asyncio.gather(*(tell(each.id) for each in entries))
        # A Consul agent that has lost its data has started anew.
        await self.put([each for each, is_known in zip(entries, known, strict=True) if not is_known])

    async def remove(self, entries: Sequence[Entry]) -> None:
        await asyncio.gather(*(self._api.deregister(each.id) for each in entries))

    async def close(self) -> None:
        await self._api.close()

    def _service(self, entry: Entry) -> dict[str, Any]:
        return {
            "ID": entry.id,
            "Name": self._url.service or entry.label,
            "Tags": ["weft", *self._url.tags],
            "Address": entry.host,
            "Port": entry.port,
            "Meta": {
                "weft_id": entry.owner,
                "grpc_service": "" if entry.service == COORDINATORS else entry.service,
                "tls_name": entry.tls_name,
            },
            "Check": self._check(entry),
        }

    def _check(self, entry: Entry) -> dict[str, Any]:
        ttl_s = self._url.ttl_s
        found: dict[str, Any] = {
            "CheckID": f"service:{entry.id}",
            "Status": "passing",
            "DeregisterCriticalServiceAfter": f"{max(_FORGET_S, 4 * ttl_s):.0f}s",
        }
        if self._url.check == "ttl":
            return found | {"TTL": f"{ttl_s:g}s"}
        asked = "" if entry.service == COORDINATORS else f"/{entry.service}"
        tls = {"GRPCUseTLS": True, "TLSServerName": entry.tls_name} if entry.tls_name else {}
        return found | {"GRPC": entry.address + asked, "Interval": f"{ttl_s / 3:g}s", "Timeout": "5s"} | tls
