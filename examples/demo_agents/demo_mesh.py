"""The demo's mesh: a coordinator and five agents, and what this machine has for them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from examples.demo_agents.local_git import LocalGit
from weft.cli.process.children import Child, Children
from weft.cli.terminal.failure import Failure
from weft.client import Mesh, connect, methods
from weft.rpc.errors import WeftError
from weft.services.hardware.v1 import hardware_pb2
from weft.services.hardware.v1.hardware_pb2_grpc import HardwareServiceStub
from weft.services.models.v1 import models_pb2
from weft.services.models.v1.models_pb2_grpc import ModelServiceStub
from weft.services.sandboxes.v1 import sandboxes_pb2
from weft.services.sandboxes.v1.sandboxes_pb2_grpc import SandboxServiceStub

MEASURE = "demo.v1.Study/Measure"
WORKERS = ("worker-1", "worker-2", "worker-3")
_STUDY = "examples.demo_agents.study:agent"
_AGENTS: dict[str, tuple[str, ...]] = {
    "desk": ("--with", "hardware,planner,arbiter,assigner"),
    "library": ("--with", "repositories,models"),
    **dict.fromkeys(WORKERS, (_STUDY, "--with", "sandboxes")),
}
# A service of each agent. The other workers have the contract of the first one.
_SERVING = {
    "desk": "weft.services.planner.v1.PlannerService",
    "library": "weft.services.repositories.v1.RepositoryService",
    WORKERS[0]: "weft.services.sandboxes.v1.SandboxService",
}
# A measurement has a slot, and so have the calls to its sandbox.
_SLOTS = 8
_PROBE_S = 20.0
_SERVE_S = 90.0
_ASK_S = 0.05
_HEALTHY = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True, slots=True)
class Machine:
    """What is here, as inputs of the graph; and a line for what is not."""

    inputs: dict[str, bool]
    missing: list[str]


class DemoMesh:
    """Starts the processes; they end with `children`.

    Attributes:
        agents: the living agents by id.
        mesh: the client.
    """

    def __init__(self, children: Children, git: LocalGit | None) -> None:
        self._children = children
        self._git = git
        self._stack = AsyncExitStack()
        self.agents: dict[str, Child] = {}
        self.mesh: Mesh

    async def __aenter__(self) -> Self:
        store = self._children.folder / "weft.db"
        _, target = await self._children.coordinator("coordinator", store=store, durability="process")
        env = self._variables()
        self.mesh = await self._stack.enter_async_context(connect(target, tls=False))
        # One after another: to check a contract costs the coordinator most of a second, and this may be a small machine.
        for agent_id, words in _AGENTS.items():
            flags = ("--target", target, "--id", agent_id, "--slots", str(_SLOTS))
            command = ("-P", "-m", "weft.cli.main", "agent", *words, *flags)
            self.agents[agent_id] = self._children.python(agent_id, *command, env=env)
            if agent_id in _SERVING:
                await self._served(agent_id, _SERVING[agent_id])
        await self._children.hosted(self.mesh, MEASURE, agents=len(WORKERS))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _served(self, agent_id: str, service: str) -> None:
        """Wait until the coordinator has accepted the contract of an agent."""
        stub = health_pb2_grpc.HealthStub(self.mesh.channel())
        asked = health_pb2.HealthCheckRequest(service=service)
        try:
            async with asyncio.timeout(_SERVE_S):
                while True:
                    self.agents[agent_id].must_live()
                    # NOT_FOUND: nobody hosts it yet.
                    with suppress(grpc.aio.AioRpcError):
                        if (await stub.Check(asked, timeout=_PROBE_S)).status == _HEALTHY:
                            return
                    await asyncio.sleep(_ASK_S)
        except TimeoutError:
            raise Failure(f"agent {agent_id} does not serve within {_SERVE_S:g} s") from None

    def kill(self, agent_id: str) -> None:
        """Kill an agent with SIGKILL, and all that it has started."""
        self._children.kill(self.agents.pop(agent_id))

    async def look(self, git_missing: str) -> Machine:
        """Try each part that a machine may not have."""
        found = {
            # The graph's inputs: why it is not here, and what is done instead.
            "git": (git_missing, "files are read from disk, and nothing is pushed"),
            "sandbox": (await self._no_sandbox(), "the files are measured in ordinary processes"),
            "model": (await self._no_model(), "rules write the summary"),
            "docker": (await self._no_docker(), "no containers are listed"),
        }
        missing = [f"no {name}: {why}; {instead}" for name, (why, instead) in found.items() if why]
        return Machine({name: not why for name, (why, _) in found.items()}, missing)

    async def _no_sandbox(self) -> str:
        stub = SandboxServiceStub(self.mesh.channel(direct=True))
        session = (("weft-session", "probe"), ("weft-session-mode", "hard"))
        try:
            made = await stub.CreateSandbox(
                sandboxes_pb2.CreateSandboxRequest(ttl={"seconds": 10}), metadata=session, timeout=_PROBE_S
            )
            end = sandboxes_pb2.TerminateSandboxRequest(sandbox_id=made.sandbox.id)
            await stub.TerminateSandbox(end, metadata=session, timeout=_PROBE_S)
        except grpc.aio.AioRpcError as error:
            return _first_line(error.details() or error.code().name)
        return ""

    async def _no_model(self) -> str:
        list_models = methods(ModelServiceStub).ListModels
        try:
            found = await self.mesh.tasks.call(
                list_models, models_pb2.ListModelsRequest(), timeout_s=_PROBE_S
            )
        except WeftError as error:
            return _first_line(error.message)
        if any(backend.models and not backend.fault for backend in found.backends):
            return ""
        return "; ".join(
            f"the backend {_first_line(each.fault) or f'{each.name} has none'}" for each in found.backends
        )

    async def _no_docker(self) -> str:
        list_containers = methods(HardwareServiceStub).ListContainers
        try:
            asked = hardware_pb2.ListContainersRequest()
            await self.mesh.tasks.call(list_containers, asked, timeout_s=_PROBE_S)
        except WeftError as error:
            return _first_line(error.message).partition(": ")[0]
        return ""

    def _variables(self) -> Mapping[str, str]:
        found = {"WEFT_REPOSITORIES_FOLDER": str(self._children.folder / "workspaces")}
        if self._git is not None:
            found |= dict.fromkeys(
                ("WEFT_REPOSITORIES_HOSTS", "WEFT_REPOSITORIES_PLAIN_HOSTS"), self._git.host
            )
        if not Path(sys.base_prefix).is_relative_to("/usr"):
            found["WEFT_SANDBOXES_READABLE"] = sys.base_prefix
        return found


def passed_on() -> list[str]:
    """The variables of the user that the agents have: those that name models."""
    return [name for name in os.environ if name.startswith("WEFT_MODELS_")]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
