"""Consul's HTTP API, as far as it is used here. The token and files of certificates come from the variables that Consul's own command reads."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from weft.rpc.network.agent_ports import stays_here
from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.process.logs import get_logger
from weft.rpc.registries.address_source import RegistryError
from weft.rpc.registries.bounded_http import Answer, BoundedHttp

_log = get_logger("weft.registries")

# Consul answers a query that waits after so long at the latest, and up to a sixteenth of it more.
WAIT_S = 60.0
_MARGIN_S = 15.0
_MAX_INDEX = 2**64
_MAX_TOKEN_BYTES = 4096


class ConsulApi:
    """Calls of one Consul agent.

    Raises:
        RegistryError: a file of certificates cannot be used.
    """

    def __init__(self, url: RegistryUrl) -> None:
        scheme = "https" if url.kind == "consul+https" else "http"
        self._url = url
        self._http = BoundedHttp(f"Consul at {url.server}", f"{scheme}://{url.server}", _verify(scheme))
        if scheme == "http" and _token() and not stays_here(url.server):
            _log.warning(
                "registry.token_in_clear",
                registry=url.server,
                effect="others may read Consul's token on its way",
                do="use consul+https://, or the Consul agent of this machine",
            )

    async def healthy(self, service: str, index: int) -> tuple[list[Any], int]:
        """Instances of a service whose checks pass, when there is something newer than the index, or after `WAIT_S`.

        Args:
            index: 0: answer at once.

        Returns: the instances, and the index of the answer; 0: it has none.
        """
        query: dict[str, Any] = {"passing": "1", **self._place}
        if self._url.tags:
            query["tag"] = list(self._url.tags)
        if index:
            query |= {"index": str(index), "wait": f"{WAIT_S:.0f}s"}
        path = f"/v1/health/service/{quote(service, safe='')}"
        answer = await self._call(
            "GET", path, query=query, within_s=WAIT_S + _MARGIN_S if index else _MARGIN_S
        )
        found = answer.json(self._http.what)
        if not isinstance(found, list):
            raise RegistryError(f"{self._http.what} answers no list of instances")
        return found, _index(answer.headers.get("x-consul-index", ""), index)

    async def register(self, service: Mapping[str, Any]) -> None:
        """Make a service known at this Consul agent, or change it."""
        await self._call("PUT", "/v1/agent/service/register", json=service)

    async def deregister(self, service_id: str) -> None:
        """Forget a service. Harmless if it is not known."""
        await self._call("PUT", f"/v1/agent/service/deregister/{quote(service_id, safe='')}", harmless=(404,))

    async def passed(self, service_id: str) -> bool:
        """Tell that a service lives. False: Consul does not know it."""
        path = f"/v1/agent/check/pass/service:{quote(service_id, safe='')}"
        # Old ones answer 500 for a check that they do not know.
        answer = await self._call("PUT", path, harmless=(404, 500))
        if answer.status == 500 and b"nknown check" not in answer.body and b"TTL" not in answer.body:
            raise self._http.refused(answer)
        return answer.status == 200

    async def knows(self, service_id: str) -> bool:
        """Whether this Consul agent has the service."""
        answer = await self._call("GET", f"/v1/agent/service/{quote(service_id, safe='')}", harmless=(404,))
        return answer.status == 200

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    @property
    def _place(self) -> dict[str, str]:
        return {"dc": self._url.datacenter} if self._url.datacenter else {}

    async def _call(self, method: str, path: str, *, harmless: tuple[int, ...] = (), **what: Any) -> Answer:
        token = _token()
        headers = {"X-Consul-Token": token} if token else None
        answer = await self._http.call(method, path, headers=headers, **what)
        if answer.status != 200 and answer.status not in harmless:
            raise self._http.refused(answer)
        return answer


def _index(text: str, before: int) -> int:
    """The index to ask with: as Consul advises, from the start again when it has gone back."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < _MAX_INDEX):
        return 0
    return int(text) if int(text) >= before else 0


def _token() -> str:
    """Consul's token; empty: none. Files are read each time, since tokens change.

    Raises:
        RegistryError: its file cannot be read, or has something else.
    """
    text = os.environ.get("CONSUL_HTTP_TOKEN", "")
    path = os.environ.get("CONSUL_HTTP_TOKEN_FILE", "")
    if not text and path:
        try:
            with Path(path).open("rb") as file:
                text = file.read(_MAX_TOKEN_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RegistryError(f"CONSUL_HTTP_TOKEN_FILE: {path} cannot be read: {error}") from None
    if not (text.isascii() and text.isprintable()):
        raise RegistryError("CONSUL_HTTP_TOKEN is no token: it has characters that no header may have")
    return text


def _verify(scheme: str) -> Any:
    if scheme == "http":
        return False
    ca, cert, key = (os.environ.get(f"CONSUL_{name}", "") for name in ("CACERT", "CLIENT_CERT", "CLIENT_KEY"))
    try:
        made = ssl.create_default_context(cafile=ca or None)
        if cert:
            made.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(
            f"a file of CONSUL_CACERT, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY cannot be used: {error}"
        ) from None
    return made
