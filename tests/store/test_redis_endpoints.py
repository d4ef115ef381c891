"""The endpoint resolver: a Cluster whose slot moves, Sentinels whose primary is lost, TLS, and invalid URLs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import grpc.aio
import pytest
from pydantic import ValidationError

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.certificates import TestAuthority
from tests.support.lightweight import LightAgent, Request
from tests.support.processes import Process
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_sentinel import RedisSentinel, replicate
from tests.support.redis_server import HOST, RedisServer
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.choose import store_of
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Submission
from weft.coordinator.store.redis.endpoint_resolver import EndpointResolver
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.rules import State
from weft.rpc.errors import Unavailable

T = TypeVar("T")

PREFIX = "test"
OUTAGE_S = 40.0


async def _open(url: str, *, durability: str = "fast") -> Harness:
    clock, listener = ManualClock(), RecordingListener()
    store = RedisStore(
        url,
        prefix=PREFIX,
        clock=clock,
        durability=durability,
        options=RedisOptions(timeout_s=1.0, poll_s=0.05),
    )
    await store.open(listener)
    return Harness(store, clock, listener)


async def _submit_on(h: Harness, stored: list[str], enough: asyncio.Event) -> None:
    """Submit one task after another until told to stop; remember those that were acknowledged."""
    while not enough.is_set():
        try:
            stored.extend(await h.submit_many([Submission(METHOD, b"payload")]))
        except Unavailable:
            await asyncio.sleep(0.01)


async def _until_writable(h: Harness) -> str:
    return await _answered(h.submit)


async def _answered(step: Callable[[], Awaitable[T]]) -> T:
    """Try until Redis is there. It may seem away once more after a first answer: nodes of a busy machine miss each other."""
    async with asyncio.timeout(OUTAGE_S):
        while True:
            try:
                return await step()
            except Unavailable:
                await asyncio.sleep(0.02)


async def test_a_slot_of_a_cluster_moves_under_load(tmp_path: Path) -> None:
    async with RedisCluster(tmp_path / "cluster") as cluster:
        h = await _open(cluster.url)
        owner = await h.agent(lease_s=1e6)
        slot = cluster.slot_of(f"{{{PREFIX}}}")
        home = await cluster.owner(slot)
        stored: list[str] = []
        enough = asyncio.Event()
        load = asyncio.create_task(_submit_on(h, stored, enough))
        async with asyncio.timeout(OUTAGE_S):
            for node in [*(each for each in cluster.nodes if each is not home), home]:
                before = len(stored)
                await cluster.move_slot(slot, to=node)
                while len(stored) < before + 20:
                    await asyncio.sleep(0.01)
        enough.set()
        await load
        records = await h.store.get(stored)
        assert [record.state for record in records if record is not None] == [State.QUEUED] * len(stored)
        # A submission whose answer was lost may be there too.
        assert h.store.unfinished() >= len(stored)
        # Nothing is handed out while a poll that met the old node says that Redis is away.
        async with asyncio.timeout(OUTAGE_S):
            while not (claimed := await h.claim(owner, limit=5)):
                await asyncio.sleep(0.01)
        for each in claimed:
            await h.end(each)
        assert len(claimed) == 5
        await h.store.close()


@pytest.mark.slow
async def test_a_node_of_a_cluster_is_killed_and_comes_back(tmp_path: Path) -> None:
    async with RedisCluster(tmp_path / "cluster") as cluster:
        h = await _open(cluster.url)
        task_id = await h.submit()
        home = await cluster.owner(cluster.slot_of(f"{{{PREFIX}}}"))
        await home.kill()
        with pytest.raises(Unavailable):
            await h.submit()
        await home.restart()
        await _until_writable(h)
        assert await _answered(lambda: h.state(task_id)) is State.QUEUED
        await h.store.close()


async def test_a_store_that_was_slow_to_open_is_not_taken_for_lost(tmp_path: Path) -> None:
    """A coordinator would drop its first agents."""
    async with RedisServer(tmp_path / "redis") as redis:
        settings = CoordinatorSettings(listen="127.0.0.1:0", store=redis.url, heartbeat_interval_s=0.5)
        coordinator = Coordinator(settings)
        redis.pause()
        starting = asyncio.create_task(coordinator.start())
        # Longer than a lost store is waited for.
        await asyncio.sleep(1.0)
        assert not starting.done()
        redis.resume()
        await starting
        try:
            async with (
                grpc.aio.insecure_channel(coordinator.address) as channel,
                LightAgent(channel, "a1") as agent,
            ):
                await asyncio.sleep(0.2)
                await agent.send(Request(goodbye=True))
                assert await agent.ended() is None
        finally:
            await coordinator.stop(0.1)


@pytest.mark.slow
async def test_sentinels_switch_to_a_replica(tmp_path: Path) -> None:
    async with RedisSentinel(tmp_path / "sentinel", password="s3cret") as group:
        h = await _open(group.url, durability="replicated")
        owner = await h.agent(lease_s=1e6)
        ids = await h.submit_many([Submission(METHOD, b"payload")] * 10)
        claimed = await h.claim_one(owner)
        old = await group.primary()
        await old.kill()
        await group.switched(old)
        # The new primary has no replica yet: what it takes cannot be acknowledged in this mode.
        with pytest.raises(Unavailable):
            await h.submit()
        await h.store.close()
        fast = await _open(group.url)
        await _until_writable(fast)
        assert await _answered(lambda: fast.state(claimed.task_id)) is State.RUNNING
        await fast.end(claimed)
        states = [record.state for record in await fast.store.get(ids) if record is not None]
        assert sorted(states) == [State.QUEUED] * 9 + [State.SUCCEEDED]
        await fast.store.close()


async def test_replicated_tells_nothing_that_a_replica_has_not_got(tmp_path: Path) -> None:
    """Not what another coordinator wrote either: with the primary it would be gone, and somebody would have read it."""
    folders = tmp_path / "primary", tmp_path / "replica"
    async with RedisServer(folders[0]) as primary, RedisServer(folders[1]) as replica:
        await replicate(primary, replica)
        reader, writer = await _open(primary.url, durability="replicated"), await _open(primary.url)
        task_id = await reader.submit()
        reader.listener.followed = {task_id}
        replica.pause()
        await writer.cancel(task_id)
        with pytest.raises(Unavailable):
            await reader.store.get([task_id])
        with pytest.raises(Unavailable):
            await reader.store.list_tasks(ListFilter(), limit=10)
        assert State.CANCELLED in writer.listener.states(task_id)
        assert State.CANCELLED not in reader.listener.states(task_id)
        replica.resume()
        async with asyncio.timeout(OUTAGE_S):
            while State.CANCELLED not in reader.listener.states(task_id):
                await asyncio.sleep(0.01)
        assert await reader.state(task_id) is State.CANCELLED
        for each in (reader, writer):
            await each.store.close()


async def test_a_demoted_primary_is_left(tmp_path: Path) -> None:
    """It still answers, and refuses to write."""
    async with RedisSentinel(tmp_path / "sentinel") as group:
        h = await _open(group.url)
        await h.submit()
        await group.fail_over()
        await _until_writable(h)
        await h.store.close()


async def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    server, client = authority.tls("redis"), authority.tls("coordinator")
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    tls = {
        "tls-port": str(port),
        "tls-cert-file": server.cert,
        "tls-key-file": server.key,
        "tls-ca-cert-file": server.ca,
        "tls-auth-clients": "yes",
    }
    url = f"rediss://{HOST}:{port}/0"
    async with RedisServer(tmp_path / "redis", options=tls):
        certificate = {"store_tls_cert": client.cert, "store_tls_key": client.key}
        store = store_of(CoordinatorSettings(store=url, store_tls_ca=client.ca, **certificate).store_config)
        await store.open(RecordingListener())
        assert store.writable
        await store.close()
        in_url = f"{url}?ssl_ca_certs={client.ca}&ssl_certfile={client.cert}&ssl_keyfile={client.key}"
        h = await _open(in_url)
        assert await h.state(await h.submit()) is State.QUEUED
        await h.store.close()
        for given, why in (
            (certificate, "set WEFT_STORE_TLS_CA"),
            ({"store_tls_ca": client.ca}, "set WEFT_STORE_TLS_CERT and WEFT_STORE_TLS_KEY"),
        ):
            store = store_of(CoordinatorSettings(store=url, **given).store_config)
            with pytest.raises(StoreError, match=why):
                await store.open(RecordingListener())
    for given, why in (
        ({"store": "weft.db", "store_tls_ca": "a"}, "this store is a file"),
        ({"store": "redis://h", "store_tls_ca": "a"}, "write rediss://"),
        ({"store": "rediss://h", "store_tls_cert": "a"}, "go together"),
    ):
        with pytest.raises(ValidationError, match=why):
            CoordinatorSettings(**given)


@pytest.mark.slow
async def test_credentials_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with RedisServer(tmp_path / "redis", password="s3cret") as server:
        await server.command("ACL", "SETUSER", "weft", "on", ">other-s3cret", "~*", "&*", "+@all")
        url = f"redis://{server.address}/0"
        for username, password in (("", "s3cret"), ("weft", "other-s3cret")):
            monkeypatch.setenv("WEFT_STORE_USERNAME", username)
            monkeypatch.setenv("WEFT_STORE_PASSWORD", password)
            store = store_of(CoordinatorSettings(store=url).store_config)
            await store.open(RecordingListener())
            assert store.writable
            await store.close()
        for password, says in (("wr0ng", "refuses the credentials: "), ("", "asks for credentials: ")):
            args = ("coordinator", "--listen", f"{HOST}:0", "--store", url)
            env = {"WEFT_STORE_PASSWORD": password}
            process = Process.weft("refused", *args, log=tmp_path / f"refused{password}.log", env=env)
            try:
                assert await process.wait(timeout_s=20) == 1
            finally:
                process.cleanup()
            output = process.output()
            assert f"cannot use the store: {url} {says}" in output
            assert "wr0ng" not in output
            assert "Traceback" not in output


@pytest.mark.parametrize(
    "url", ["redis://{}h:1/0", "rediss://{}h:1/0", "redis+sentinel://{}h:1/weft", "redis+cluster://{}h:1"]
)
def test_credentials_of_the_url_come_first(url: str) -> None:
    given = {"username": "weft", "password": "s3cret"}
    found = []
    for login in ("", "me@", ":mine@", "me:mine@"):
        servers = EndpointResolver(url.format(login), tag="{weft}", timeout_s=1.0, credentials=given)
        options = servers.client().connection_pool.connection_kwargs
        found.append((options["username"], options["password"]))
        assert servers.shown == url.format("")
    assert found == [("weft", "s3cret"), ("me", "s3cret"), ("weft", "mine"), ("me", "mine")]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://host/db", "is no store"),
        ("redis://host/zero", "not the number of a database"),
        ("redis://host:port/0", "is no Redis URL"),
        ("redis://host/0?shards=4", "has an option"),
        ("redis+sentinel://a:1,b:2", "must name the service"),
        ("redis+sentinel://a:1,,b:2/weft", "is not HOST:PORT"),
        ("redis+sentinel://a:1/weft?quorum=2", "unknown option 'quorum'"),
        ("redis+cluster://a:1/0", "one database only"),
        ("redis+cluster://", "is not HOST:PORT"),
    ],
)
def test_urls_that_are_none(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        EndpointResolver(url.replace("://", "://user:s3cret@"), tag="{weft}", timeout_s=1.0)
    with pytest.raises(StoreError) as refused:
        EndpointResolver(url.replace("://", "://user:s3cret@"), tag="{weft}", timeout_s=1.0)
    assert "s3cret" not in str(refused.value)
