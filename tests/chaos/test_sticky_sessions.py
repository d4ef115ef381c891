"""Sticky sessions under kill -9 of agents and coordinators: no call of a hard session runs at another process than the ones before, unless the
caller was told that the session is lost; soft sessions go on whatever is killed.

Each conversation calls, waits for the answer, and calls again. WEFT_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.deployments import Deployment, embedded, redis
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.soak import soak
from weft.client import Aborted, Mesh, NotFound, RetryLater, StickySession, call_options, connect, methods
from weft.rpc.errors import DeadlineExceeded, WeftError, from_call
from weft.v1 import errors_pb2

PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
PROGRAM = "tests.support.remembering:agent"
AGENTS = 3
LOST = errors_pb2.ERROR_REASON_STICKY_SESSION_LOST


@dataclass
class Conversation:
    """One session, called again and again."""

    session: StickySession
    process: str = ""
    calls: int = 0
    moves: int = 0
    losses: int = 0
    # Calls at another process, of which nobody was told.
    silent: int = 0

    async def hold(self, mesh: Mesh, *, direct: bool, until: float) -> None:
        """Call until a time."""
        while time.monotonic() < until:
            try:
                process = await (self._direct(mesh) if direct else self._durable(mesh))
            except Aborted as error:
                if error.reason != LOST:
                    raise
                self.losses += 1
                self.process = ""
                await self._end(mesh)
            except (RetryLater, DeadlineExceeded):
                await asyncio.sleep(0.05)
            else:
                self.calls += 1
                if self.process and process != self.process:
                    self.moves += 1
                    self.silent += self.session.mode == "hard"
                self.process = process

    async def _durable(self, mesh: Mesh) -> str:
        handle = await mesh.tasks.submit(PROBE.Call, ProbeRequest(sleep_s=0.01), session=self.session)
        return (await handle.result(30)).text.split()[0]

    async def _direct(self, mesh: Mesh) -> str:
        stub = probe_pb2_grpc.ProbeServiceStub(mesh.channel(direct=True))
        said = call_options(session=self.session)
        try:
            reply = await stub.Call(ProbeRequest(sleep_s=0.01), metadata=said, timeout=10)
        except grpc.aio.AioRpcError as error:
            raise from_call(error) from None
        return reply.text.split()[0]

    async def _end(self, mesh: Mesh) -> None:
        while True:
            try:
                return await mesh.fleet.end_session(PROBE_SERVICE, self.session)
            except NotFound:
                return None
            except WeftError:
                await asyncio.sleep(0.05)


async def run(meshes: list[MeshHarness], seed: int, kills: int) -> None:
    """Conversations of both modes, durable and direct, while agents and coordinators are killed."""
    print(f"WEFT_SEED={seed}")
    rng = random.Random(seed)
    target = ",".join(mesh.target for mesh in meshes)
    names = [f"g{number}" for number in range(AGENTS)]
    await asyncio.gather(*(meshes[0].agent(name, program=PROGRAM, target=target, slots=16) for name in names))
    talks = [
        (Conversation(StickySession(f"{mode}-{way}-{number}", mode)), way)  # type: ignore[arg-type]
        for mode in ("hard", "soft")
        for way in ("durable", "direct")
        for number in range(4)
    ]
    async with connect(target) as mesh:
        until = time.monotonic() + 2.0 * kills + 6.0
        talking = [
            asyncio.create_task(talk.hold(mesh, direct=way == "direct", until=until)) for talk, way in talks
        ]
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(0.5, 2.0))
            if rng.random() < 0.5:
                name = rng.choice(names)
                await meshes[0].agents[name].kill()
                await asyncio.sleep(rng.uniform(0.0, 1.0))
                await meshes[0].agent(name, program=PROGRAM, target=target, slots=16, wait=False)
            else:
                await rng.choice(meshes).restart_coordinator()
        await asyncio.gather(*talking)
    for talk, way in talks:
        print(f"{talk.session.key} ({way}): {talk}")
    assert not [talk for talk, _ in talks if talk.silent]
    assert all(talk.calls > 10 for talk, _ in talks)
    assert not any(talk.losses for talk, _ in talks if talk.session.mode == "soft")


@contextlib.asynccontextmanager
async def quick(deployment: Deployment, folder: Path) -> AsyncIterator[list[MeshHarness]]:
    async with deployment(folder) as meshes:
        for mesh in meshes:
            await mesh.restart_coordinator(session_grace_s=1, heartbeat_interval_s=0.3, reconnect_grace_s=0.5)
        yield meshes


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("deployment", [pytest.param(embedded, marks=soak), redis])
async def test_kills_take_no_memory_in_silence(tmp_path: Path, deployment: Deployment) -> None:
    seed = int(os.environ.get("WEFT_SEED") or random.SystemRandom().getrandbits(31))
    async with quick(deployment, tmp_path) as meshes:
        await run(meshes, seed, kills=8)
