"""A mesh of real processes with mTLS on every hop and, if wanted, tokens; and the change of all its certificates and tokens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from tests.support.beside import StockApp, free_address, sidecar
from tests.support.certificates import TestAuthority, credentials, variables, written
from tests.support.mesh import MeshHarness
from weft.client import AgentInfo, DirectState, Mesh, connect
from weft.rpc.identity.caller import AGENT, CLIENT
from weft.v1 import security_pb2
from weft.v1.security_pb2_grpc import TokenServiceStub


class SecureMesh:
    """A coordinator, two agents and a sidecar with its app. Each has a certificate, and each wants one of its callers.

    Args:
        tokens: each has a token, too, in a file.
    """

    def __init__(self, mesh: MeshHarness, *, tokens: bool = False) -> None:
        self.mesh = mesh
        self.tokens = tokens
        # The ids of tokens, by the names of their files.
        self._ids: dict[str, str] = {}
        self.authority = TestAuthority(mesh.folder)
        self.client = self.authority.tls("client", ips=())
        self.egress, self.metrics, self.channelz = free_address(), free_address(), free_address()

    async def start(self) -> None:
        mesh = self.mesh
        mesh.credentials = credentials(self.client)
        mesh.env = variables(self.authority.tls("coordinator"))
        settings: dict[str, Any] = {"metrics": f"https://{self.metrics}", "channelz": self.channelz}
        if self.tokens:
            settings |= {"tokens": "on", "operator_token_file": self._token("operator")}
            shown = grpc.metadata_call_credentials(self._show)
            mesh.credentials = grpc.composite_channel_credentials(mesh.credentials, shown)
        await mesh.coordinator(**settings)
        if self.tokens:
            for name, role in {"children": AGENT, "a1": AGENT, "side": AGENT, "client": CLIENT}.items():
                await self._create(name, role)
        app_tls = self.authority.tls("app", mutual=False)
        app = StockApp(mesh)
        # Agents are verified by their names: no address is in their certificates.
        children, host = (
            variables(self.authority.tls(name, ips=())) | self._variables(name) for name in ("children", "a1")
        )
        # Its app dials the egress by an address.
        side = variables(self.authority.tls("side")) | self._variables("side")
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
        async with self.connect() as mesh:
            return list(await mesh.fleet.agents())

    def connect(self, name: str = "client") -> Mesh:
        """A client with the certificate of the client, and a token."""
        token = self._token(name) if self.tokens else None
        return connect(self.mesh.target, tls=self.client, token=token)

    def _token(self, name: str) -> Path:
        return self.mesh.folder / f"{name}.token"

    def _variables(self, name: str) -> dict[str, str]:
        return {"WEFT_TOKEN_FILE": str(self._token(name))} if self.tokens else {}

    def _show(self, _context: object, done: grpc.AuthMetadataPluginCallback) -> None:
        done((("authorization", f"Bearer {self._token('operator').read_text().strip()}"),), None)

    async def _create(self, name: str, role: Any) -> None:
        async with self.connect("operator") as mesh:
            request = security_pb2.CreateTokenRequest(role=role, name=name)
            made = await TokenServiceStub(mesh.channel()).CreateToken(request)
        self._ids[name] = made.token.id
        self._put(name, made.text)

    def _put(self, name: str, text: str) -> None:
        partial = self._token(name).with_suffix(".partial")
        partial.write_text(text)
        partial.chmod(0o600)
        partial.replace(self._token(name))

    async def rotate(self, overlap_s: int) -> None:
        """Give everybody another text of their token. The old ones end after a while."""
        for name, token_id in self._ids.items():
            async with self.connect("operator") as mesh:
                request = security_pb2.RotateTokenRequest(id=token_id, overlap=Duration(seconds=overlap_s))
                made = await TokenServiceStub(mesh.channel()).RotateToken(request)
            self._put(name, made.text)

    def trust(self, *authorities: TestAuthority) -> None:
        """Let everybody trust these authorities alone."""
        partial = self.authority.ca.with_suffix(".partial")
        partial.write_bytes(b"".join(each.pair.certificate for each in authorities))
        partial.replace(self.authority.ca)

    def renew(self, by: TestAuthority) -> None:
        """Give everybody a certificate of this authority."""
        for name, how in self.authority.issued.items():
            written(Path(self.mesh.folder / name), by.issue(name, **how))
