"""Addresses of a Service's pods: its EndpointSlices, listed once and then watched. Pods that are not ready do not count."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.registries.address_source import RegistryError, checked, endpoint
from weft.rpc.registries.kubernetes_api import SERVICE_LABEL, KubernetesApi, check_count

# The least time between two watches.
PAUSE_S = 0.5


class KubernetesSource:
    """Follows the Service."""

    def __init__(self, url: RegistryUrl) -> None:
        self._url = url
        self._selector = f"{SERVICE_LABEL}={url.service}"

    async def sets(self) -> AsyncIterator[Sequence[str]]:
        api = await KubernetesApi.open()
        try:
            while True:
                items, version = await api.slices(self._url.namespace, self._selector)
                slices = {_name(each): each for each in items}
                yield self._addresses(slices)
                async for event in api.watch(self._url.namespace, self._selector, version):
                    kind, changed = read_event(event)
                    if kind == "ERROR":
                        # The version is too old: all are listed again.
                        break
                    if kind == "DELETED":
                        slices.pop(_name(changed), None)
                    elif kind in {"ADDED", "MODIFIED"}:
                        slices[_name(changed)] = changed
                        check_count(len(slices), self._selector)
                    yield self._addresses(slices)
                await asyncio.sleep(PAUSE_S)
        finally:
            await api.close()

    def _addresses(self, slices: Mapping[str, Any]) -> Sequence[str]:
        found = checked([each for some in slices.values() for each in ready_addresses(some, self._url.port)])
        return random.sample(found, len(found))


def read_event(event: Any) -> tuple[str, Any]:
    """What has happened, and to which slice.

    Raises:
        RegistryError: the line is no event.
    """
    try:
        return event["type"], event["object"]
    except (KeyError, TypeError, IndexError):
        raise RegistryError("the Kubernetes API tells of no event") from None


def _name(found: Any) -> str:
    try:
        return str(found["metadata"]["name"])
    except (KeyError, TypeError, IndexError):
        raise RegistryError("the Kubernetes API tells of an EndpointSlice without a name") from None


def ready_addresses(found: Any, port: str) -> list[str]:
    """The addresses of one slice.

    Args:
        port: its number or name; empty: the only one.

    Raises:
        RegistryError: the slice is not as the API describes it, or its Service has no such port.
    """
    try:
        ports = found.get("ports") or []
        fitting = [
            each["port"] for each in ports if not port or port in {str(each["port"]), each.get("name")}
        ]
        # Unknown counts as ready, as the API has it.
        ready = [
            each
            for each in found.get("endpoints") or []
            if (each.get("conditions") or {}).get("ready") is not False
        ]
        # All addresses of an endpoint are the same pod.
        hosts = [each["addresses"][0] for each in ready]
    except (KeyError, TypeError, IndexError, AttributeError):
        raise RegistryError(f"the EndpointSlice {_name(found)} is not as the API describes it") from None
    if hosts and len(fitting) != 1:
        has = (
            ", ".join(f"{each.get('name') or 'without a name'} ({each['port']})" for each in ports) or "none"
        )
        wanted = f"no port {port}" if port else "not one port: name it, k8s://NAMESPACE/SERVICE:PORT"
        raise RegistryError(f"the Service has {wanted}; it has {has[:200]}")
    return [endpoint(host, fitting[0]) for host in hosts]
