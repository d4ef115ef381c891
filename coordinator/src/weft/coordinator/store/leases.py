"""Owners of attempts: each session's lease, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator

from weft.coordinator.store.entry import NEVER, Entry
from weft.coordinator.store.records import Owner


class Lease:
    """One session's right to hold attempts. `attached`: it has its stream, and no later session took over."""

    __slots__ = ("attached", "attempts", "ends_at", "instance_id", "owner")

    def __init__(self, owner: Owner, instance_id: str, ends_at: float) -> None:
        self.owner = owner
        self.instance_id = instance_id
        self.ends_at = ends_at
        self.attached = True
        self.attempts: set[Entry] = set()


class Leases:
    """All leases by owner. An owner without one holds nothing."""

    def __init__(self) -> None:
        self._by_owner: dict[Owner, Lease] = {}
        self._by_agent: dict[str, list[Lease]] = {}

    def open(self, owner: Owner, instance_id: str, ends_at: float) -> None:
        for earlier in self.earlier(owner):
            earlier.attached = False
        lease = self._by_owner[owner] = Lease(owner, instance_id, ends_at)
        self._by_agent.setdefault(owner.agent_id, []).append(lease)

    def get(self, owner: Owner) -> Lease | None:
        return self._by_owner.get(owner)

    def drop(self, lease: Lease) -> None:
        if self._by_owner.pop(lease.owner, None) is None:
            return
        leases = self._by_agent[lease.owner.agent_id]
        leases.remove(lease)
        if not leases:
            del self._by_agent[lease.owner.agent_id]

    def has(self, agent_id: str) -> bool:
        return agent_id in self._by_agent

    def in_use(self, agent_id: str, instance_id: str, now: float) -> bool:
        """Whether another process than this has an open session of the agent."""
        return any(
            lease.attached and lease.instance_id != instance_id and lease.ends_at > now
            for lease in self._by_agent.get(agent_id, ())
        )

    def earlier(self, owner: Owner) -> list[Lease]:
        """Leases of the same agent's earlier sessions."""
        return [lease for lease in self._by_agent.get(owner.agent_id, ()) if lease.owner.epoch < owner.epoch]

    def passed(self, now: float) -> list[Lease]:
        return [lease for lease in self._by_owner.values() if lease.ends_at <= now]

    def running(self) -> Iterator[Entry]:
        """Every attempt that is held."""
        for lease in self._by_owner.values():
            yield from lease.attempts

    @property
    def next_at(self) -> float:
        """When the next lease passes."""
        return min((lease.ends_at for lease in self._by_owner.values()), default=NEVER)
