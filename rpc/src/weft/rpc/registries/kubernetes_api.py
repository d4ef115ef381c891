"""The API of Kubernetes, as far as EndpointSlices need it: by the service account of the own pod, or else by KUBECONFIG.

Plain HTTP: the whole client library (`kubernetes_asyncio`, which pools and sandboxes use) takes 48 MB and most of a second. It reads KUBECONFIG here, where it is installed.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from weft.rpc.registries.address_source import RegistryError
from weft.rpc.registries.bounded_http import Answer, BoundedHttp

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVICE_LABEL = "kubernetes.io/service-name"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
_PAGE = 500
_MAX_TOKEN_BYTES = 64 * 1024
# The API ends a watch after so long.
WATCH_S = 240.0
_MARGIN_S = 30.0


class _Cluster(NamedTuple):
    """How the API is reached."""

    base: str
    verify: Any
    token: str
    token_file: Path | None


class KubernetesApi:
    """Calls of the API."""

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster = cluster
        self._http = BoundedHttp("the Kubernetes API", cluster.base, cluster.verify)

    @classmethod
    async def open(cls) -> KubernetesApi:
        """Find the cluster.

        Raises:
            RegistryError: there is none.
        """
        host, port = (
            os.environ.get("KUBERNETES_SERVICE_HOST"),
            os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
        )
        return cls(_own(host, port) if host else await _of_kubeconfig())

    async def slices(self, namespace: str, selector: str) -> tuple[list[Any], str]:
        """All EndpointSlices that a selector of labels fits, and the version that a watch goes on from."""
        found: list[Any] = []
        after = ""
        while True:
            query = {"labelSelector": selector, "limit": str(_PAGE)} | ({"continue": after} if after else {})
            answer = await self._call("GET", _SLICES.format(namespace), query=query)
            page = answer.json(self._http.what)
            try:
                found += page["items"]
                after = page["metadata"].get("continue") or ""
                version = page["metadata"]["resourceVersion"]
            except (KeyError, TypeError, AttributeError):
                raise RegistryError("the Kubernetes API answers no list of EndpointSlices") from None
            check_count(len(found), selector)
            if not after:
                return found, str(version)

    def watch(self, namespace: str, selector: str, version: str) -> AsyncIterator[Any]:
        """What happens to them after a version."""
        query = {
            "labelSelector": selector,
            "watch": "true",
            "resourceVersion": version,
            "timeoutSeconds": f"{WATCH_S:.0f}",
        }
        return self._http.lines(_SLICES.format(namespace), query, self._shown(), WATCH_S + _MARGIN_S)

    async def apply(self, namespace: str, name: str, body: Mapping[str, Any]) -> Answer:
        """Make an EndpointSlice, or change it (server-side apply)."""
        return await self._call(
            "PATCH",
            f"{_SLICES.format(namespace)}/{name}",
            query={"fieldManager": "weft", "force": "true"},
            json=body,
            content_type="application/apply-patch+yaml",
        )

    async def delete(self, namespace: str, name: str) -> None:
        """Delete one. Harmless if it is gone."""
        await self._call("DELETE", f"{_SLICES.format(namespace)}/{name}", harmless=404)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _call(
        self, method: str, path: str, *, harmless: int = 0, content_type: str = "", **what: Any
    ) -> Answer:
        headers = self._shown() | ({"Content-Type": content_type} if content_type else {})
        answer = await self._http.call(method, path, headers=headers, **what)
        if answer.status in (401, 403):
            raise RegistryError(
                f"{self._http.refused(answer)}. The service account needs rights to endpointslices of discovery.k8s.io: docs/deploy/discovery.md"
            )
        if answer.status not in (200, 201, harmless):
            raise self._http.refused(answer)
        return answer

    def _shown(self) -> dict[str, str]:
        """The token, read each time: Kubernetes replaces it every hour or so."""
        token, path = self._cluster.token, self._cluster.token_file
        if path is not None:
            try:
                with path.open("rb") as file:
                    token = file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise RegistryError(f"the token of the service account cannot be read: {error}") from None
        return {"Authorization": f"Bearer {token}"} if token else {}


def check_count(count: int, selector: str) -> None:
    """
    Raises:
        RegistryError: there are more EndpointSlices than a source or registrar looks at.
    """
    if count > _PAGE:
        raise RegistryError(f"there are more than {_PAGE} EndpointSlices of {selector}")


def _own(host: str, port: str) -> _Cluster:
    """The cluster that this pod is in."""
    try:
        verify = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(
            f"the authority of the cluster ({ACCOUNT / 'ca.crt'}) cannot be used: {error}"
        ) from None
    shown = f"[{host}]" if ":" in host else host
    return _Cluster(f"https://{shown}:{port}", verify, "", ACCOUNT / "token")


async def _of_kubeconfig() -> _Cluster:
    try:
        from kubernetes_asyncio import client, config
    except ImportError:
        raise RegistryError(
            "this process is in no cluster (KUBERNETES_SERVICE_HOST), and weft[pools], which reads KUBECONFIG, is not installed"
        ) from None
    found = client.Configuration()
    try:
        # The library reads the variable once, when it is imported.
        await config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=found)
        verify: Any = False
        if found.verify_ssl:
            verify = ssl.create_default_context(cafile=found.ssl_ca_cert or None)
            if found.cert_file:
                verify.load_cert_chain(found.cert_file, found.key_file)
    except Exception as error:
        raise RegistryError(f"this process is in no cluster, and KUBECONFIG leads to none: {error}") from None
    token = (found.api_key or {}).get("BearerToken", "").removeprefix("Bearer ")
    return _Cluster(str(found.host), verify, token, None)
