"""Services in Kubernetes, for processes that no Service selects: an EndpointSlice each, of the Service with its name, which has no selector.

A slice has no end of its own. In a pod it belongs to the pod and goes with it; the others are renewed, and each registrar removes those of weft that are not.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import ipaddress
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.registries.address_source import RegistryError
from weft.rpc.registries.kubernetes_api import ACCOUNT, SERVICE_LABEL, KubernetesApi
from weft.rpc.registries.registrar import Entry

MANAGER_LABEL, MANAGER = "endpointslice.kubernetes.io/managed-by", "weft.dev"
ENDS, OWNER, SERVICE = "weft.dev/ends-at-s", "weft.dev/owner", "weft.dev/grpc-service"
# Slices that one look removes.
_MOST_REMOVED = 50


class KubernetesRegistrar:
    """Applies EndpointSlices."""

    def __init__(self, url: RegistryUrl, api: KubernetesApi) -> None:
        self._url = url
        self._api = api
        # The API server's clock less the own one: all registrars go by the former.
        self._ahead_s = 0.0

    @classmethod
    async def open(cls, url: RegistryUrl) -> KubernetesRegistrar:
        """Find the cluster.

        Raises:
            RegistryError: there is none.
        """
        return cls(url, await KubernetesApi.open())

    async def put(self, entries: Sequence[Entry]) -> None:
        for each in entries:
            answer = await self._api.apply(self._url.namespace, _name(each), self._slice(each))
            self._ahead_s = _server_s(answer.headers) - time.time()

    async def refresh(self, entries: Sequence[Entry]) -> None:
        await self.put(entries)
        await self._remove_ended()

    async def remove(self, entries: Sequence[Entry]) -> None:
        await asyncio.gather(*(self._api.delete(self._url.namespace, _name(each)) for each in entries))

    async def close(self) -> None:
        await self._api.close()

    def _slice(self, entry: Entry) -> dict[str, Any]:
        ip = _ip(entry)
        annotations = {
            ENDS: f"{time.time() + self._ahead_s + self._url.ttl_s:.0f}",
            OWNER: entry.owner,
            SERVICE: entry.service,
        }
        metadata: dict[str, Any] = {
            "name": _name(entry),
            "labels": {SERVICE_LABEL: self._url.service or entry.label, MANAGER_LABEL: MANAGER},
            "annotations": annotations,
        }
        pod, uid = os.environ.get("K8S_POD_NAME"), os.environ.get("K8S_POD_UID")
        if pod and uid and self._url.namespace == _own_namespace():
            metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}]
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": f"IPv{ip.version}",
            "ports": [{"name": "grpc", "port": entry.port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [str(ip)], "conditions": {"ready": True}}],
        }

    async def _remove_ended(self) -> None:
        found, _ = await self._api.slices(self._url.namespace, f"{MANAGER_LABEL}={MANAGER}")
        now_s = time.time() + self._ahead_s
        # Much later than it must be renewed: who is late keeps its own.
        gone = [name for name, ends_at_s in map(_end, found) if ends_at_s + 3 * self._url.ttl_s < now_s]
        for name in gone[:_MOST_REMOVED]:
            await self._api.delete(self._url.namespace, name)


def _name(entry: Entry) -> str:
    return f"weft-{hashlib.sha256(entry.id.encode()).hexdigest()[:20]}"


def _ip(entry: Entry) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        ip = ipaddress.ip_address(entry.host)
    except ValueError:
        raise RegistryError(
            f"{entry.host} is no IP address, which Kubernetes needs: set WEFT_AGENT_ADVERTISED_ADDRESS, or ?address= in the URL"
        ) from None
    if ip.is_loopback or ip.is_link_local:
        raise RegistryError(
            f"{ip} is reached from this machine alone, and Kubernetes takes no such address: listen on another one"
        )
    return ip


def _end(found: Any) -> tuple[str, float]:
    """The name of a slice, and when it ends, in seconds since 1970; for ever, if it does not say."""
    try:
        name = str(found["metadata"]["name"])
        return name, float(found["metadata"]["annotations"][ENDS])
    except (KeyError, TypeError, ValueError):
        return "", float("inf")


def _server_s(headers: Mapping[str, str]) -> float:
    try:
        return email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return time.time()


def _own_namespace() -> str:
    try:
        return (ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
