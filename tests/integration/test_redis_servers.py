"""The Redis servers that other tests run against do what those rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster as ClusterClient
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support import redis_server
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_sentinel import RedisSentinel
from tests.support.redis_server import RedisServer


async def test_a_killed_server_comes_back_with_what_it_acknowledged(tmp_path: Path) -> None:
    async with (
        RedisServer(tmp_path / "redis", appendfsync="always") as server,
        server.client() as client,
    ):
        url = server.url
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        assert await client.set("a", "1")

        await server.kill()
        with pytest.raises(redis.exceptions.ConnectionError):
            await client.get("a")
        await server.restart()
        assert (server.url, await client.get("a")) == (url, "1")


async def test_a_paused_server_is_silent_and_resumes(tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis") as server, server.client() as client:
        await client.set("a", "1")
        server.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.get("a")
        server.resume()
        assert await client.get("a") == "1"


async def test_a_password_is_asked_for(tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis", password="s3cret") as server:
        assert server.url.startswith("redis://:s3cret@127.0.0.1:")
        async with Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger:
            with pytest.raises(redis.exceptions.AuthenticationError):
                await stranger.get("a")
        assert await server.answers()


@pytest.mark.slow
async def test_a_cluster_serves_all_slots_and_moves_one(tmp_path: Path) -> None:
    async with RedisCluster(tmp_path / "cluster") as cluster:
        first = cluster.nodes[0]
        async with ClusterClient(host="127.0.0.1", port=first.port, decode_responses=True) as client:
            for number in range(50):
                await client.set(f"{{q:{number % 5}}}:{number}", number)
            slot = cluster.slot_of("{q:3}")
            owner = await cluster.owner(slot)
            other = next(node for node in cluster.nodes if node is not owner)

            await cluster.move_slot(slot, to=other)
            assert await cluster.owner(slot) is other
            assert [await client.get(f"{{q:{n % 5}}}:{n}") for n in range(50)] == [str(n) for n in range(50)]

            await other.kill()
            await other.restart()
            await cluster.wait_ok()
            assert await client.get("{q:3}:3") == "3"


@pytest.mark.slow
async def test_sentinels_replace_a_lost_primary(tmp_path: Path) -> None:
    async with RedisSentinel(tmp_path / "sentinel") as group:
        old = await group.primary()
        assert old is group.servers[0]
        await old.command("SET", "a", "1")
        assert await old.command("WAIT", 1, 5000) == 1

        await old.kill()
        new = await group.switched(old)
        assert await new.command("GET", "a") == "1"


@pytest.mark.slow
async def test_a_lost_primary_comes_back_as_a_replica(tmp_path: Path) -> None:
    async with RedisSentinel(tmp_path / "sentinel", password="s3cret") as group:
        old = await group.primary()
        await old.kill()
        await group.switched(old)
        await old.restart()
        await group.wait_replicating()

        primary = await group.primary()
        await primary.command("SET", "a", "1")
        assert await primary.command("WAIT", 1, 5000) == 1
        replica = next(server for server in group.servers if server is not primary)
        assert await replica.command("GET", "a") == "1"


def test_without_redis_tests_are_skipped_and_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="redis-server is not installed"):
        redis_server.redis_binary()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="redis-server is not installed"):
        redis_server.redis_binary()
