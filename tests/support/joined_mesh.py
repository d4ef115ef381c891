"""A coordinator that makes certificates by itself, in this process or beside it, and how it is joined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import until
from weft.agent import Agent
from weft.client import Mesh, connect
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.security.tls import Tls
from weft.v1 import security_pb2
from weft.v1.security_pb2_grpc import TokenServiceStub

# Hosted by the agents of `serving`.
METHOD = "probe.v1.Echo/Echo"


class JoinedMesh:
    """What its files say.

    Args:
        variables: those of the join file.
    """

    def __init__(
        self, variables: Mapping[str, str], operator: Path, coordinator: Coordinator | None = None
    ) -> None:
        self._coordinator = coordinator
        self.variables = dict(variables)
        self.target = variables["WEFT_TARGET"]
        self.tls = Tls(pin=variables["WEFT_TLS_PIN"], join=variables["WEFT_TLS_JOIN"])
        self.operator_file = operator

    def connect(self, token: str | Path | None = None) -> Mesh:
        """A client that joins; by default, an operator."""
        return connect(self.target, tls=self.tls, token=self.operator_file if token is None else token)

    def renew(self) -> None:
        """Renew the coordinator's own certificate now."""
        assert self._coordinator is not None
        authority = self._coordinator.identity._authority
        assert authority is not None
        authority._renew()

    async def token(self, role: int, **fields: Any) -> tuple[str, str]:
        """Make a token: its id and its text."""
        async with self.connect() as mesh:
            request = security_pb2.CreateTokenRequest(role=role, **fields)
            made = await TokenServiceStub(mesh.channel()).CreateToken(request)
        return made.token.id, made.text

    async def revoke(self, token_id: str) -> None:
        async with self.connect() as mesh:
            await TokenServiceStub(mesh.channel()).RevokeToken(security_pb2.RevokeTokenRequest(id=token_id))


def variables_in(path: Path) -> dict[str, str]:
    """The variables in a file."""
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, _, value in pairs}


@asynccontextmanager
async def joined_mesh(folder: Path, name: str = "mesh", **settings: Any) -> AsyncIterator[JoinedMesh]:
    """A coordinator in this process."""
    operator = folder / "operator.token"
    given = {
        "listen": "127.0.0.1:0",
        "store": str(folder / "weft.db"),
        "operator_token_file": operator,
        "join_file": folder / f"{name}.join",
        "tokens": "on",
        "ca": "auto",
    }
    coordinator = Coordinator(CoordinatorSettings(**(given | settings)))
    await coordinator.start()
    try:
        yield JoinedMesh(
            variables_in(folder / f"{name}.join"), settings.get("operator_token_file", operator), coordinator
        )
    finally:
        await coordinator.stop(0.0)


@asynccontextmanager
async def serving(mesh: JoinedMesh, agent_id: str, token: str, **how: Any) -> AsyncIterator[Agent]:
    """An agent that joins, in this process."""
    agent = Agent(agent_id, target=mesh.target, tls=mesh.tls, **how)
    agent.configure(token=token, token_file="")

    @agent.method(METHOD)
    async def echo(request: dict[str, str]) -> dict[str, str]:
        return request

    task = asyncio.ensure_future(agent.serve())
    try:
        await until(lambda: agent.connected or task.done(), "the agent has joined")
        if task.done():
            task.result()
        yield agent
    finally:
        agent.stop()
        await asyncio.gather(task, return_exceptions=True)
