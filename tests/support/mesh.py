"""A mesh of real processes for tests: a coordinator and agents, killed, paused and restarted at will.

    async with MeshHarness(tmp_path) as mesh:
        await mesh.coordinator(heartbeat_interval_s=0.2)
        a1 = await mesh.agent("a1", slots=4)
        reply = await mesh.probe().Call(ProbeRequest(text="hello"), timeout=5)
        await a1.kill()

Tests get one as the fixture `mesh`. Each step waits for its own result, or fails with the processes' logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from probe.v1 import probe_pb2_grpc
from tests.support.ledger import Ledger
from tests.support.processes import Process, until
from weft.rpc.network.channel import client_options
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, fleet_pb2

PROBE_AGENT = "tests.support.probe:agent"
PROBE_SERVICE = "probe.v1.ProbeService"
START_S = 20.0
_LOG_TAIL_CHARS = 6000


class MeshHarness:
    """Owns the processes of one test. `folder` takes the store, the logs and the ledgers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A path, or the URL of a Redis.
        self.store: Path | str = folder / "weft.db"
        # Of the coordinator, beside its settings.
        self.env: dict[str, str] = {}
        # Of its agents.
        self.agent_env: dict[str, str] = {}
        # Of the test's own channels; None: they are plain.
        self.credentials: grpc.ChannelCredentials | None = None
        # A redirection of the output of coordinators and agents, in a shell's form. Without it, output goes to their
        # logs.
        self.redirect = ""
        self.coordinator_process: Process | None = None
        self.agents: dict[str, Process] = {}
        self.others: list[Process] = []
        self._flags: list[str] = []
        self._settings: dict[str, str] = {}
        self._target = ""
        self._channels: list[grpc.aio.Channel] = []
        self._shared: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every channel and kill every process."""
        try:
            await self.close_channels()
        finally:
            for process in self._processes():
                process.cleanup()

    async def close_channels(self) -> None:
        """Close every channel; the next use opens new ones, on the event loop of then."""
        channels, self._channels, self._shared = self._channels, [], None
        for channel in channels:
            await channel.close()

    # -- coordinator --------------------------------------------------------------------------------------------

    async def coordinator(
        self,
        *,
        durability: str | None = None,
        listen: str = "127.0.0.1:0",
        flags: Sequence[str] = (),
        **settings: object,
    ) -> Process:
        """Start the coordinator and wait until it listens.

        Args:
            durability: by default the store's own default.
            listen: the address; by default a free port, which `restart_coordinator` keeps.
            flags: more of the command's options.
            settings: other settings of the coordinator by their names, such as `reconnect_grace_s=1`.
        """
        self._settings = {f"WEFT_{name.upper()}": str(value) for name, value in settings.items()}
        self._flags = ["--store", str(self.store)]
        if durability is not None:
            self._flags += ["--durability", durability]
        return await self._start_coordinator(listen, *flags)

    async def restart_coordinator(self, **settings: object) -> Process:
        """Start it again on the same store and port, with settings changed as named; kill -9 it first if it lives."""
        assert self.coordinator_process is not None, "start it first"
        if self.coordinator_process.alive:
            await self.coordinator_process.kill()
        self._settings |= {f"WEFT_{name.upper()}": str(value) for name, value in settings.items()}
        return await self._start_coordinator(self._target)

    async def replace_coordinator(self, **settings: object) -> Process:
        """Start another one, which takes its place; returns that one when it serves. The predecessor ends by itself."""
        self._settings |= {f"WEFT_{name.upper()}": str(value) for name, value in settings.items()}
        return await self._start_coordinator(self._target, "--replace")

    async def move_coordinator(self) -> Process:
        """Kill -9 it, and start it on the same store and another port."""
        assert self.coordinator_process is not None, "start it first"
        await self.coordinator_process.kill()
        # They lead to the old port.
        await self.close_channels()
        return await self._start_coordinator("127.0.0.1:0")

    async def _start_coordinator(self, listen: str, *further: str) -> Process:
        address = self.folder / "address"
        address.unlink(missing_ok=True)
        process = Process.weft(
            "coordinator",
            "coordinator",
            "--listen",
            listen,
            "--address-file",
            str(address),
            *self._flags,
            *further,
            log=self.folder / "coordinator.log",
            env=self._settings | self.env,
            redirect=self.redirect,
        )
        if self.coordinator_process is not None:
            self.others.append(self.coordinator_process)
        self.coordinator_process = process
        await self._while_alive(process, lambda: address.exists() and bool(address.read_text().strip()))
        self._target = address.read_text().strip()
        return process

    # -- agents -------------------------------------------------------------------------------------------------

    async def agent(
        self,
        agent_id: str,
        *,
        slots: int = 4,
        prefetch: int = 0,
        labels: Mapping[str, str] | None = None,
        resources: Mapping[str, float] | None = None,
        drain_grace_s: float | None = None,
        env: Mapping[str, str] | None = None,
        program: str = PROBE_AGENT,
        services: str = "",
        target: str = "",
        wait: bool = True,
    ) -> Process:
        """Start an agent (by default of the probe service; an empty `program`: of `services` alone) and, with `wait`, see it ACTIVE at the
        coordinator."""
        flags = [
            "--target",
            target or self.target,
            "--id",
            agent_id,
            "--slots",
            str(slots),
            "--prefetch",
            str(prefetch),
        ]
        for key, value in (labels or {}).items():
            flags += ["--label", f"{key}={value}"]
        for key, amount in (resources or {}).items():
            flags += ["--resource", f"{key}={amount:g}"]
        if drain_grace_s is not None:
            flags += ["--drain-grace-s", str(drain_grace_s)]
        process = Process.weft(
            agent_id,
            "agent",
            *([program] if program else []),
            *(["--with", services] if services else []),
            *flags,
            log=self.folder / f"{agent_id}.log",
            env=self.agent_env | dict(env or {}),
            redirect=self.redirect,
        )
        if agent_id in self.agents:
            self.others.append(self.agents[agent_id])
        self.agents[agent_id] = process
        if wait:
            await self.wait_agent(agent_id, instance_of=process)
            await self.wait_contract(agent_id)
        return process

    async def wait_contract(self, agent_id: str, *, agents: int = 1) -> None:
        """Wait until so many agents may get tasks of the agent's methods: it is connected a moment before its contract is accepted."""
        request = coordinator_pb2.GetAgentRequest(agent_id=agent_id)

        async def in_force() -> bool:
            agent = (await self.api().GetAgent(request, timeout=5)).agent
            hosted = {method.name for method in agent.methods}
            answer = await self.api().ListQueues(coordinator_pb2.ListQueuesRequest(), timeout=5)
            return any(queue.agents >= agents for queue in answer.queues if queue.method in hosted)

        await self.eventually(in_force, f"the contract of {agent_id} is accepted")

    async def agent_states(self) -> dict[str, fleet_pb2.AgentState]:
        """State of each agent that the coordinator knows, by id."""
        answer = await self.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)
        return {agent.id: agent.state for agent in answer.agents}

    async def wait_agent(
        self,
        agent_id: str,
        state: fleet_pb2.AgentState = fleet_pb2.AGENT_STATE_ACTIVE,
        *,
        instance_of: Process | None = None,
        timeout_s: float = START_S,
    ) -> None:
        """Wait until the coordinator sees the agent in this state; `instance_of` must live meanwhile."""

        async def seen() -> bool:
            if instance_of is not None and not instance_of.alive:
                raise AssertionError(f"{agent_id} exited\n{self.logs()}")
            return (await self.agent_states()).get(agent_id) == state

        await self.eventually(
            seen, f"agent {agent_id} is {fleet_pb2.AgentState.Name(state)}", timeout_s=timeout_s
        )

    async def wait_serving(self, service: str = PROBE_SERVICE, *, timeout_s: float = START_S) -> None:
        """Wait until the coordinator's health says that the service can take a call."""
        health = health_pb2_grpc.HealthStub(self.channel())

        async def serving() -> bool:
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return False
                raise
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        await self.eventually(serving, f"{service} is SERVING", timeout_s=timeout_s)

    # -- talking to it --------------------------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """The coordinator's "host:port"."""
        assert self._target, "start the coordinator first"
        return self._target

    def channel(self) -> grpc.aio.Channel:
        """One channel to the coordinator, shared by the test, closed with the harness."""
        if self._shared is None:
            self._shared = self.own_channel()
        return self._shared

    def own_channel(self, *further: tuple[str, int]) -> grpc.aio.Channel:
        """A further channel, on a connection of its own, with further options."""
        options = [*client_options(own_connection=True), *further]
        if self.credentials is None:
            channel = grpc.aio.insecure_channel(self.target, options=options)
        else:
            channel = grpc.aio.secure_channel(self.target, self.credentials, options=options)
        self._channels.append(channel)
        return channel

    def api(self) -> coordinator_pb2_grpc.CoordinatorServiceStub:
        """The coordinator's API as a stock stub."""
        return coordinator_pb2_grpc.CoordinatorServiceStub(self.channel())

    def probe(self) -> probe_pb2_grpc.ProbeServiceStub:
        """The probe service as a stock stub: each call is durable."""
        return probe_pb2_grpc.ProbeServiceStub(self.channel())

    def ledger(self, name: str = "ledger") -> Ledger:
        return Ledger(self.folder / name)

    # -- waiting and looking ----------------------------------------------------------------------------------------

    async def eventually(
        self, condition: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float = START_S
    ) -> None:
        """Ask until `condition` holds; a coordinator that cannot be reached means not yet."""
        ends_at = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                if await condition():
                    return
            if time.monotonic() > ends_at:
                raise AssertionError(f"after {timeout_s:g} s still not: {what}\n{self.logs()}")
            await asyncio.sleep(0.02)

    def logs(self) -> str:
        """The end of every process' log."""
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            parts.append(f"---- {path.name}\n{path.read_text(errors='replace')[-_LOG_TAIL_CHARS:]}")
        return "\n".join(parts)

    def _processes(self) -> list[Process]:
        own = [] if self.coordinator_process is None else [self.coordinator_process]
        return [*self.agents.values(), *own, *self.others]

    async def _while_alive(self, process: Process, condition: Callable[[], bool]) -> None:
        await until(
            lambda: condition() or not process.alive, f"{process.name} has started", timeout_s=START_S
        )
        if not process.alive:
            raise AssertionError(f"{process.name} exited at its start\n{self.logs()}")
