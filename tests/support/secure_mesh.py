"""A mesh of real processes with mTLS on every hop, and the change of all its certificates to those of another authority."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.beside import StockApp, free_address, sidecar
from tests.support.certificates import TestAuthority, credentials, variables, written
from tests.support.mesh import MeshHarness
from weft.client import AgentInfo, DirectState, connect


class SecureMesh:
    """A coordinator, two agents and a sidecar with its app. Each has a certificate, and each wants one of its callers."""

    def __init__(self, mesh: MeshHarness) -> None:
        self.mesh = mesh
        self.authority = TestAuthority(mesh.folder)
        self.client = self.authority.tls("client", ips=())
        self.egress, self.metrics, self.channelz = free_address(), free_address(), free_address()

    async def start(self) -> None:
        mesh = self.mesh
        mesh.credentials = credentials(self.client)
        mesh.env = variables(self.authority.tls("coordinator"))
        await mesh.coordinator(metrics=f"https://{self.metrics}", channelz=self.channelz)
        app_tls = self.authority.tls("app", mutual=False)
        app = StockApp(mesh)
        # Agents are verified by their names: no address is in their certificates.
        children, host = (variables(self.authority.tls(name, ips=())) for name in ("children", "a1"))
        # Its app dials the egress by an address.
        side = variables(self.authority.tls("side"))
        await asyncio.gather(
            mesh.agent("a1", env=host),
            mesh.agent("children", env=children, program="tests.support.child_calls:agent"),
            app.start("--cert", app_tls.cert, "--key", app_tls.key),
        )
        await sidecar(
            mesh,
            app.address,
            *("--app-tls-ca", app_tls.ca, "--egress-tls"),
            egress=self.egress,
            env=side,
        )
        await mesh.eventually(self._all_reachable, "direct calls reach each agent")

    async def _all_reachable(self) -> bool:
        return all(agent.direct_state is DirectState.REACHABLE for agent in await self.agents())

    async def agents(self) -> list[AgentInfo]:
        async with connect(self.mesh.target, tls=self.client) as mesh:
            return list(await mesh.fleet.agents())

    def trust(self, *authorities: TestAuthority) -> None:
        """Let everybody trust these authorities alone."""
        partial = self.authority.ca.with_suffix(".partial")
        partial.write_bytes(b"".join(each.pair.certificate for each in authorities))
        partial.replace(self.authority.ca)

    def renew(self, by: TestAuthority) -> None:
        """Give everybody a certificate of this authority."""
        for name, how in self.authority.issued.items():
            written(Path(self.mesh.folder / name), by.issue(name, **how))
