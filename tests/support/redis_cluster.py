"""A Redis Cluster of a test's own: primaries without replicas that share the slots, and slots that move.

async with RedisCluster(tmp_path / "cluster") as cluster:
    await mesh.coordinator(store=cluster.url)
    await cluster.move_slot(cluster.slot_of("{q:0}"), to=cluster.nodes[2])
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from redis.crc import key_slot

from tests.support.redis_server import HOST, RedisServer, eventually

SLOTS = 16384
_KEYS_A_MOVE = 100


class RedisCluster:
    """`nodes` are its servers; a killed one is started again by its own `restart()`."""

    def __init__(
        self, folder: Path, *, nodes: int = 3, password: str = "", options: Mapping[str, str] | None = None
    ) -> None:
        clustered = {"cluster-enabled": "yes", "cluster-node-timeout": "1000"} | dict(options or {})
        self.password = password
        self.nodes = [
            RedisServer(folder / f"node{n}", name=f"node{n}", password=password, options=clustered)
            for n in range(nodes)
        ]

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(node.start() for node in self.nodes))
            await self._join()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for node in self.nodes:
            await node.close()

    @property
    def url(self) -> str:
        credentials = f":{self.password}@" if self.password else ""
        return f"redis+cluster://{credentials}{','.join(node.address for node in self.nodes)}"

    @staticmethod
    def slot_of(key: str) -> int:
        return key_slot(key.encode())

    async def wait_ok(self) -> None:
        """Wait until every node knows every other, and all slots are served."""
        for node in self.nodes:
            await eventually(functools.partial(self._is_ok, node), f"{node.name} sees the whole cluster")

    async def owner(self, slot: int) -> RedisServer:
        """The node that serves the slot."""
        for first, last, primary, *_ in await self.nodes[0].command("CLUSTER", "SLOTS"):
            if int(first) <= slot <= int(last):
                return next(node for node in self.nodes if node.port == int(primary[1]))
        raise LookupError(f"nobody serves slot {slot}")

    async def move_slot(self, slot: int, *, to: RedisServer) -> None:
        """Move a slot with its keys, as a resharding does: keys go while clients are redirected."""
        source = await self.owner(slot)
        if source is to:
            return
        source_id, target_id = [await node.command("CLUSTER", "MYID") for node in (source, to)]
        await to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        await source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        auth = ["AUTH", self.password] if self.password else []
        while keys := await source.command("CLUSTER", "GETKEYSINSLOT", slot, _KEYS_A_MOVE):
            await source.command("MIGRATE", HOST, to.port, "", 0, 5000, *auth, "KEYS", *keys)
        # The new owner first: else the old one would send clients to a node that sends them back.
        rest = [node for node in self.nodes if node is not to and node is not source and node.alive]
        for node in [to, source, *rest]:
            await node.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    async def _join(self) -> None:
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            share = range(number * SLOTS // len(self.nodes), (number + 1) * SLOTS // len(self.nodes))
            await node.command("CLUSTER", "ADDSLOTS", *share)
            await node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if node is not first:
                await node.command("CLUSTER", "MEET", HOST, first.port)
        await self.wait_ok()

    async def _is_ok(self, node: RedisServer) -> bool:
        info = await node.command("CLUSTER", "INFO")
        fields = (
            info if isinstance(info, dict) else dict(line.split(":") for line in info.split("\r\n") if line)
        )
        return fields["cluster_state"] == "ok" and int(fields["cluster_known_nodes"]) == len(self.nodes)
