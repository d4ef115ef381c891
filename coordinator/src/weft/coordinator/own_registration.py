"""The coordinator's own address in a registry, from when it serves until it begins to stop."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weft.rpc.registries.registration import Registration


class OwnRegistration:
    """
    Args:
        discovery: the registry's URL; empty: there is none, and nothing is loaded.
        coordinator_id: whose address it is.
    """

    def __init__(self, discovery: str, coordinator_id: str) -> None:
        self._discovery = discovery
        # A successor at the same port may have the same id, and must not lose its entry to its predecessor's end.
        self._id = f"{coordinator_id}-{secrets.token_hex(3)}"
        self._registration: Registration | None = None

    def start(self, address: str, tls_name: str) -> None:
        """The coordinator serves.

        Args:
            address: `host:port`.
            tls_name: a name in its certificate; empty: it has no TLS.

        Raises:
            MissingExtra: what the registry needs is not installed.
        """
        if not self._discovery:
            return
        from weft.rpc.network.registry_url import COORDINATORS, registrar_url
        from weft.rpc.registries.registration import Registration, ServiceOwner

        url = registrar_url(self._discovery, of_coordinator=True)
        self._registration = Registration(
            url, ServiceOwner(self._id, address, tls_name), lambda: (COORDINATORS,)
        )
        self._registration.start()

    async def stop(self) -> None:
        """The coordinator begins to stop."""
        if self._registration is not None:
            await self._registration.close()
