"""Keeps the services of one process in a registry, as they are at the time: written, refreshed, removed at the end.

    services now ─► entries ─► compared with those that are there ─► put, refresh, remove

It runs on the loop that serves: if that is blocked for longer than entries hold, they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
from collections.abc import Callable, Collection
from typing import NamedTuple

from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.process.logs import get_logger
from weft.rpc.registries.address_source import RegistryError
from weft.rpc.registries.registrar import Entry, Registrar
from weft.rpc.registries.registrar_choice import check_installed, registrar_of

_log = get_logger("weft.registries")

# How soon a change is seen.
LOOK_S = 0.5
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.5, 15.0
# The end of a process waits so long for its removal.
REMOVE_S = 3.0
# An address of documentation, which is not sent to: it shows which of this machine's addresses leads to others.
_FAR = "192.0.2.1"


class ServiceOwner(NamedTuple):
    """Whose services they are.

    Attributes:
        id: of the agent or coordinator.
        address: where it is reached, `host:port`.
        tls_name: a name in its certificate; empty: it has no TLS.
    """

    id: str
    address: str
    tls_name: str = ""


class Registration:
    """The services of one process in one registry. Belongs to the event loop in which it is started.

    Args:
        services: names those that take calls now.

    Raises:
        MissingExtra: what the registry needs is not installed.
    """

    def __init__(
        self, url: RegistryUrl, owner: ServiceOwner, services: Callable[[], Collection[str]]
    ) -> None:
        check_installed(url)
        self._url, self._owner, self._services = url, owner, services
        self._host, self._port = "", 0
        self._registrar: Registrar | None = None
        # Those that are there, and those that may be: a request may have arrived whose answer has not.
        self._present: dict[str, Entry] = {}
        self._perhaps: dict[str, Entry] = {}
        self._refresh_at_s = 0.0
        self._told = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="weft-registration")

    async def close(self) -> None:
        """Remove all entries, within some seconds, and end."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait({task})
        if self._registrar is None:
            return
        try:
            async with asyncio.timeout(REMOVE_S):
                if self._perhaps:
                    await self._registrar.remove(list(self._perhaps.values()))
                await self._registrar.close()
        except Exception as error:
            # The process ends in any case; what is left ends by itself.
            _log.warning("registry.not_left", registry=self._url.text, error=str(error) or repr(error))

    async def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                await self._pass()
            except Exception as error:
                # A registry may answer anything.
                self._failed(str(error) if isinstance(error, RegistryError) else repr(error))
                await asyncio.sleep(random.uniform(backoff_s / 2, backoff_s))  # noqa: S311 - not for secrets
                backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)
            else:
                backoff_s = FIRST_BACKOFF_S
                await asyncio.sleep(LOOK_S)

    async def _pass(self) -> None:
        """Make the registry as the process is."""
        if self._registrar is None:
            self._host, self._port = await asyncio.to_thread(own_address, self._url, self._owner.address)
            # The library of HTTP takes a while to import.
            await asyncio.to_thread(_import, self._url)
            self._registrar = await registrar_of(self._url)
        wanted = {each.id: each for each in self._entries()}
        if gone := [each for key, each in self._perhaps.items() if key not in wanted]:
            await self._registrar.remove(gone)
            for each in gone:
                del self._perhaps[each.id]
                self._present.pop(each.id, None)
        if new := [each for key, each in wanted.items() if self._present.get(key) != each]:
            self._perhaps |= {each.id: each for each in new}
            await self._registrar.put(new)
            self._present |= {each.id: each for each in new}
            self._succeeded()
        await self._refresh()

    async def _refresh(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._registrar is None or not self._present or now_s < self._refresh_at_s:
            return
        await self._registrar.refresh(list(self._present.values()))
        self._refresh_at_s = now_s + self._url.ttl_s / 3
        if self._told:
            self._succeeded()

    def _entries(self) -> list[Entry]:
        owner = self._owner
        return [
            Entry(f"weft-{owner.id}-{each}", each, owner.id, self._host, self._port, owner.tls_name)
            for each in sorted(self._services())
        ]

    def _succeeded(self) -> None:
        self._told = False
        _log.info(
            "registry.written",
            registry=self._url.text,
            services=sorted(each.service for each in self._present.values()),
        )

    def _failed(self, why: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("registry.not_written", registry=self._url.text, error=why, effect="trying on")


def own_address(url: RegistryUrl, address: str) -> tuple[str, int]:
    """Host and port that are written: those of the URL, or else those where the process listens; of one that listens on all addresses, the one that leads to the
    registry. Looks at the network, and sends nothing.

    Raises:
        RegistryError: there is none.
    """
    host, _, port = (url.address or address).rpartition(":")
    if not host or not port.isdigit() or (host := host.strip("[]")).startswith("unix"):
        raise RegistryError(
            f"{address or 'a process without a port of its own'} has no address that others reach"
        )
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            towards, _, there = url.server.rpartition(":")
            return _own_host((towards.strip("[]") or _FAR, int(there or 9))), int(port)
    return host, int(port)


def _own_host(towards: tuple[str, int]) -> str:
    try:
        for family, kind, protocol, _, where in socket.getaddrinfo(*towards, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(where)
                return str(probe.getsockname()[0])
    except OSError as error:
        raise RegistryError(
            f"the address of this machine is not known: {error}; write ?address=HOST:PORT"
        ) from None
    raise RegistryError("the address of this machine is not known: write ?address=HOST:PORT")


def _import(url: RegistryUrl) -> None:
    if url.kind != "file":
        from weft.rpc.registries import bounded_http

        assert bounded_http
