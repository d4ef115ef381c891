"""Pools on real coordinators, with real processes: they stand, heal, and leave nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.joined_mesh import variables_in
from tests.support.mesh import MeshHarness
from tests.support.pooled import ALONE_S, PROBE, PooledMachine, machine, pooled, stands
from tests.support.processes import until
from tests.support.refusals import check, refused
from tests.support.soak import EITHER_STORE, SOAKS
from weft.client import MemberState, PoolState, connect
from weft.rpc.security.tls import Tls
from weft.v1 import lifecycle_pb2
from weft.v1 import pool_pb2 as pb
from weft.v1.pool_pb2_grpc import FleetServiceStub

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION, EXISTS = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS

pytestmark = pytest.mark.asyncio(loop_scope="module")
Home = tuple[PooledMachine, MeshHarness]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with pooled(tmp_path_factory.mktemp("mesh")) as (here, (mesh,)):
        yield here, mesh


def stub(home: Home) -> Any:
    return FleetServiceStub(home[1].channel())


async def test_a_pool_stands_heals_and_leaves_nothing(home: Home) -> None:
    here, mesh = home
    async with connect(mesh.target) as client:
        made = await client.pools.create("workers", PROBE, size=2)
        assert made.uid == (await client.pools.create("workers", PROBE, size=2)).uid
        pool = await stands(client, "workers", 2)
        await mesh.wait_serving()
        assert (await mesh.probe().Call(ProbeRequest(text="hello"), timeout=5)).text
        assert {agent.id for agent in await client.fleet.agents()} == {each.id for each in pool.members}
        assert all(agent.labels["weft.pool"] == "workers" for agent in await client.fleet.agents())
        killed, stays = pool.members
        os.kill(int(killed.handle), signal.SIGKILL)
        began_at = time.monotonic()
        await until(lambda: killed.id not in here.members().values(), "it is gone")
        async with timeout(5.0):
            while True:
                pool = await client.pools.get("workers")
                if pool.ready == 2 and killed.id not in {each.id for each in pool.members}:
                    break
                # Who asks all the time takes the processor from what starts.
                await asyncio.sleep(0.02)
        assert time.monotonic() - began_at < 5
        assert stays.id in {each.id for each in pool.members}
        assert (pool.lost, pool.started) == (1, 3)
        assert (await client.pools.delete("workers")).state is PoolState.DELETING
        await here.wait_empty()
        await mesh.eventually(lambda: gone(home, "workers"), "its row is gone")


async def gone(home: Home, name: str) -> bool:
    return not [
        each for each in (await stub(home).ListPools(pb.ListPoolsRequest())).pools if each.name == name
    ]


def template(**fields: Any) -> pb.PoolTemplate:
    given: dict[str, Any] = {"provider": "process", "program": "m:agent"}
    return pb.PoolTemplate(**(given | fields))


BAD: dict[str, dict[str, Any]] = {
    "provider": {"provider": "No"},
    "program": {"program": "m"},
    "app": {"app": "here", "program": ""},
    "image": {"image": "acme/worker"},
    "settings": {"settings": {"cpu": "1"}},
    "labels": {"labels": {"weft.pool": "other"}},
    "environment": {"environment": {"WEFT_TOKEN": "x"}},
    "resources": {"resources": {"gpu": -1.0}},
    "slots": {"slots": 100_001},
    "ready_timeout": {"ready_timeout": Duration(nanos=1)},
    "stop_grace": {"stop_grace": Duration(seconds=7200)},
    "command": {"command": ["a"]},
}


async def test_what_is_wrong_is_refused(home: Home) -> None:
    api = stub(home)
    for field, given in BAD.items():
        spec = pb.PoolSpec(template=template(**given), size=1)
        status = await refused(api.CreatePool(pb.CreatePoolRequest(name="bad", spec=spec)))
        check(status, INVALID, "INVALID_FIELD")
        assert f"spec.template.{field}" in str(status)
    large = template(environment={"A": "x" * 9000})
    spec = pb.PoolSpec(template=large, size=1)
    check(
        await refused(api.CreatePool(pb.CreatePoolRequest(name="bad", spec=spec))),
        EXHAUSTED,
        "PAYLOAD_TOO_LARGE",
    )
    for name in ("", "Bad", "a-", "a" * 41):
        spec = pb.PoolSpec(template=template(), size=1)
        check(
            await refused(api.CreatePool(pb.CreatePoolRequest(name=name, spec=spec))),
            INVALID,
            "INVALID_FIELD",
        )
    spec = pb.PoolSpec(template=template(), size=201)
    check(
        await refused(api.CreatePool(pb.CreatePoolRequest(name="bad", spec=spec))), INVALID, "INVALID_FIELD"
    )
    spec = pb.PoolSpec(template=template(provider="docker"), size=1)
    status = await refused(api.CreatePool(pb.CreatePoolRequest(name="bad", spec=spec)))
    check(status, PRECONDITION, "POOL_PROVIDER_UNKNOWN")
    for call, request in (
        (api.GetPool, pb.GetPoolRequest),
        (api.ScalePool, pb.ScalePoolRequest),
        (api.PausePool, pb.PausePoolRequest),
        (api.ResumePool, pb.ResumePoolRequest),
        (api.RestartPool, pb.RestartPoolRequest),
        (api.StopPool, pb.StopPoolRequest),
        (api.DeletePool, pb.DeletePoolRequest),
    ):
        check(await refused(call(request(name="nobody"))), NOT_FOUND, "POOL_NOT_FOUND")
        check(await refused(call(request(name="No"))), INVALID, "INVALID_FIELD")


async def test_a_pool_without_members_is_kept_changed_and_deleted(home: Home) -> None:
    api = stub(home)
    spec = pb.PoolSpec(template=template(environment={"SECRET": "x"}), size=0)
    first = await api.CreatePool(pb.CreatePoolRequest(name="empty", spec=spec))
    again = await api.CreatePool(pb.CreatePoolRequest(name="empty", spec=spec))
    assert (first.existed, again.existed, again.pool.uid) == (False, True, first.pool.uid)
    other = pb.PoolSpec(template=template(slots=2), size=0)
    check(
        await refused(api.CreatePool(pb.CreatePoolRequest(name="empty", spec=other))), EXISTS, "POOL_EXISTS"
    )
    await api.PausePool(pb.PausePoolRequest(name="empty", reason="why not"))
    paused = (await api.ScalePool(pb.ScalePoolRequest(name="empty", size=1))).pool
    assert (paused.paused, paused.pause_reason, paused.spec.size) == (True, "why not", 1)
    (listed,) = (await api.ListPools(pb.ListPoolsRequest())).pools
    assert (listed.name, len(listed.members)) == ("empty", 0)
    await api.DeletePool(pb.DeletePoolRequest(name="empty"))
    await home[1].eventually(lambda: gone(home, "empty"), "it is gone")
    (provider,) = (await api.ListPoolProviders(pb.ListPoolProvidersRequest())).providers
    assert (provider.name, provider.package, provider.problem) == ("process", "weft", "")


async def test_another_size_is_an_event_with_its_reason(home: Home) -> None:
    api, begun = stub(home), asyncio.Event()
    async with connect(home[1].target) as client:
        following = client.events.subscribe(lifecycle_pb2.PoolScaled, on_start=lambda _: begun.set())
        async with aclosing(following) as events:
            first = asyncio.create_task(anext(events))
            await begun.wait()
            spec = pb.PoolSpec(template=template(), size=0)
            await api.CreatePool(pb.CreatePoolRequest(name="told", spec=spec))
            # So nothing is started.
            await api.PausePool(pb.PausePoolRequest(name="told"))
            await api.ScalePool(pb.ScalePoolRequest(name="told", size=3))
            await api.ScalePool(pb.ScalePoolRequest(name="told", size=3))
            await api.StopPool(pb.StopPoolRequest(name="told"))
            await api.DeletePool(pb.DeletePoolRequest(name="told"))
            async with timeout(10):
                heard = [(await first).message, (await anext(events)).message]
            assert [(each.pool, each.previous_size, each.size, each.reason) for each in heard] == [
                ("told", 0, 3, "it was scaled"),
                ("told", 3, 0, "it was stopped"),
            ]
    await home[1].eventually(lambda: gone(home, "told"), "it is gone")


async def test_a_template_that_never_becomes_ready_says_why(home: Home) -> None:
    here, mesh = home
    async with connect(mesh.target) as client:
        await client.pools.create("bad", replace(PROBE, program="no.such:agent"), size=2)

        async def failing() -> bool:
            return (await client.pools.get("bad")).state is PoolState.FAILING

        await mesh.eventually(failing, "it fails")
        pool = await client.pools.get("bad")
        assert "no module" in pool.problem
        assert pool.retry_at is not None
        await client.pools.delete("bad")
        await here.wait_empty()
        await mesh.eventually(lambda: gone(home, "bad"), "it is gone")


@pytest.mark.slow
@pytest.mark.parametrize("store", EITHER_STORE)
async def test_it_heals_whatever_is_killed(tmp_path: Path, store: str) -> None:
    async with pooled(tmp_path, store) as (here, meshes):
        targets = ",".join(mesh.target for mesh in meshes)
        async with connect(targets) as client:
            await client.pools.create("workers", PROBE, size=3)
            pool = await stands(client, "workers", 3)
            # All coordinators: the members stay.
            for mesh in meshes:
                await mesh.restart_coordinator()
            after = await stands(client, "workers", 3)
            assert {each.handle for each in after.members} == {each.handle for each in pool.members}
            # The keeper: all members end with it.
            here.kill_keepers()
            await until(
                lambda: not {int(each.handle) for each in pool.members} & here.members().keys(),
                "the members ended with their keeper",
                timeout_s=2,
            )
            healed = await stands(client, "workers", 3, within_s=5)
            assert len(set(here.members().values())) == 3
            # A coordinator and a member together.
            os.kill(int(healed.members[0].handle), signal.SIGKILL)
            await meshes[0].restart_coordinator()
            await stands(client, "workers", 3, within_s=5)
            await client.pools.restart("workers")
            await client.pools.stop("workers")
            await here.wait_empty()
            await client.pools.resume("workers")
            await stands(client, "workers", 3)
        if not SOAKS:
            return
        # No coordinator comes back: what it started ends by itself.
        for mesh in meshes:
            assert mesh.coordinator_process is not None
            await mesh.coordinator_process.kill()
        await here.wait_empty(ALONE_S + 10)


@pytest.mark.slow
async def test_members_join_with_tokens_and_certificates(tmp_path: Path) -> None:
    operator, join = tmp_path / "operator.token", tmp_path / "mesh.join"
    with machine() as here:
        async with MeshHarness(tmp_path) as mesh:
            await mesh.coordinator(
                tokens="on",
                ca="auto",
                operator_token_file=operator,
                join_file=join,
                join_listen="127.0.0.1:0",
                **here.settings,
            )
            known = variables_in(join)
            tls = Tls(pin=known["WEFT_TLS_PIN"], join=known["WEFT_TLS_JOIN"])
            async with connect(mesh.target, tls=tls, token=operator) as client:
                await client.pools.create("workers", PROBE, size=2)
                pool = await stands(client, "workers", 2)
                valid = [token async for token in client.tokens.list() if token.comment == "pool: workers"]
                assert sorted(token.used_by[0] for token in valid) == sorted(each.id for each in pool.members)
                assert all(agent.tls_name for agent in await client.fleet.agents())
                await client.pools.delete("workers")
                await here.wait_empty()
                async with timeout(10):
                    while [pool async for pool in client.pools.list()]:
                        await asyncio.sleep(0.02)
                ended = [token async for token in client.tokens.list() if token.comment == "pool: workers"]
                assert all(token.revoked_at is not None for token in ended)


@pytest.mark.slow
async def test_pausing_launching_and_scaling(tmp_path: Path) -> None:
    async with pooled(tmp_path) as (here, (mesh,)), connect(mesh.target) as client:
        await client.pools.create("workers", PROBE, size=1)
        await stands(client, "workers", 1)
        await client.pools.pause("workers", "a while")
        paused = await stands(client, "workers", 1)
        assert paused.state is PoolState.PAUSED
        await client.pools.resume("workers")
        await client.pools.scale("workers", 3)
        assert (await stands(client, "workers", 3)).state is PoolState.READY
        await client.pools.scale("workers", 1)
        await stands(client, "workers", 1)
        launched = await client.pools.launch(PROBE, name="once")
        pool = await stands(client, "once", 1)
        assert launched.ephemeral
        assert pool.members[0].state is MemberState.READY
        os.kill(int(pool.members[0].handle), signal.SIGTERM)
        async with timeout(10):
            while "once" in [each.name async for each in client.pools.list()]:
                await asyncio.sleep(0.02)
        # What a member had started ends with it, or a moment later.
        await until(
            lambda: {each.rpartition("-")[0] for each in here.members().values()} == {"workers"},
            "only the other pool has processes",
        )
