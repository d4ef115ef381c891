"""Copies of the agents and contracts in Redis, read again only where they have changed.

fleet, changes ─► versions ─► `agents`: changes since then ─► AgentMirror      views: by each agent's coordinator
catalogue ──────► version ──► `catalogue`, and descriptor sets not read before
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from weft.coordinator.store.records import AgentRecord
from weft.coordinator.store.redis.encoding import unpack
from weft.coordinator.store.redis.redis_keys import RedisKeys
from weft.coordinator.store.redis.redis_link import RedisLink

# weft.v1.DesiredState: active.
_ACTIVE = 1
# Agents that one script reads or shares.
PORTION = 250
# How long a published load holds.
_LOAD_S = 15


class AgentMirror:
    """All agents, as of the last `refresh`."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self.agents: dict[str, AgentRecord] = {}
        self.version = 0
        self._outages = 0
        # Connected agents without a view. A view can appear and end without a change of the agent.
        self._unseen: set[str] = set()
        # Changed since the last `take_news`.
        self._news: set[str] = set()
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the changes."""
        async with self._reading:
            if self._outages != self._link.outages:
                # Redis may have lost records that were read, while its versions have grown beyond the known ones.
                self._outages, self.version = self._link.outages, 0
            gone = set(self.agents) if self.version == 0 else set()
            reading, more = self.version == 0, True
            while more:
                unseen = list(self._unseen)[:PORTION] if not reading else []
                request = [self.version, PORTION, reading, unseen]
                version, anew, more, found = await self._link.run("agents", request)
                if anew and not reading:
                    gone = set(self.agents)
                reading = anew
                for item in found or ():
                    gone.discard(self._take(*item))
                self.version = version
            for agent_id in gone:
                self._forget(agent_id)

    @property
    def incomplete(self) -> bool:
        """Whether there may be more to read than the fleet's version says."""
        return bool(self._unseen) or self._outages != self._link.outages

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    def take_news(self, also: Collection[str]) -> dict[str, AgentRecord | None]:
        """Agents that have changed since the last call, and those in `also`; None: not known."""
        news, self._news = self._news.union(also), set()
        return {agent_id: self.agents.get(agent_id) for agent_id in news}

    def _take(
        self, raw_id: bytes, raw: bytes | bool, about: bytes, desired: int | bool, view: bytes | bool
    ) -> str:
        agent_id = raw_id.decode()
        if not isinstance(raw, bytes):
            self._forget(agent_id)
            return agent_id
        last = unpack(raw)
        record = AgentRecord(
            agent_id,
            last[b"i"].decode(),
            last[b"e"],
            about,
            bool(last[b"c"]),
            int(desired or _ACTIVE),
            bool(last.get(b"l")),
            view if isinstance(view, bytes) else b"",
        )
        if record != self.agents.get(agent_id):
            self.agents[agent_id] = record
            self._news.add(agent_id)
        if record.connected and not record.view:
            self._unseen.add(agent_id)
        else:
            self._unseen.discard(agent_id)
        return agent_id

    def _forget(self, agent_id: str) -> None:
        self._unseen.discard(agent_id)
        if self.agents.pop(agent_id, None) is not None:
            self._news.add(agent_id)


async def share(link: RedisLink, views: Mapping[str, tuple[int, bytes]], loads: Mapping[str, bytes]) -> None:
    """Publish views and loads of this coordinator's agents."""
    shown = [(agent_id, *view) for agent_id, view in views.items()]
    busy = list(loads.items())
    for at in range(0, max(len(shown), len(busy)), PORTION):
        await link.run("share", [shown[at : at + PORTION], _LOAD_S, busy[at : at + PORTION]])


async def loads(link: RedisLink, keys: RedisKeys, agent_ids: Sequence[str]) -> dict[str, bytes]:
    """Loads of agents, as their coordinators have published them."""
    found: dict[str, bytes] = {}
    for at in range(0, len(agent_ids), PORTION):
        some = agent_ids[at : at + PORTION]
        asked: Any = link.client.mget([keys.of("load", agent_id) for agent_id in some])
        raws = await link.ask("loads", asked)
        found |= {agent_id: raw for agent_id, raw in zip(some, raws, strict=True) if raw is not None}
    return found


class Catalogue:
    """The contracts, and the methods for which each is in force."""

    def __init__(self, link: RedisLink, keys: RedisKeys) -> None:
        self._link = link
        self._keys = keys
        self.version = -1
        self._outages = 0
        self._methods: dict[str, list[str]] = {}

    async def read(self, known: Collection[str]) -> dict[str, tuple[bytes, Sequence[str]]]:
        """Contracts by digest, oldest first; the descriptor sets of known ones are empty."""
        if self._outages != self._link.outages:
            self._outages, self.version = self._link.outages, -1
        found = await self._link.run("catalogue", [self.version])
        if found:
            version, order, hosted = found
            methods: dict[str, list[str]] = {digest.decode(): [] for digest in order or ()}
            pairs = iter(hosted or ())
            for method, digest in zip(pairs, pairs, strict=True):
                if digest.decode() in methods:
                    methods[digest.decode()].append(method.decode())
            self.version, self._methods = version, {each: sorted(names) for each, names in methods.items()}
        contracts: dict[str, tuple[bytes, Sequence[str]]] = {}
        for digest, names in self._methods.items():
            raw: bytes | None = b""
            if digest not in known:
                # One at a time: each may be large.
                raw = await self._link.ask(
                    "contracts", self._link.client.hget(self._keys("contracts"), digest)
                )
            if raw is not None:
                contracts[digest] = (raw, names)
        return contracts
