"""Leases of sessions, and the attempts that each session holds."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice

from weft.coordinator.store.embedded.unfinished_task import NEVER, UnfinishedTask
from weft.coordinator.store.records import Owner


class Lease:
    """A session's right to hold attempts. `attached`: its stream is open, and no later session took over."""

    __slots__ = ("attached", "attempts", "ends_at", "instance_id", "looked_at", "owner")

    def __init__(self, owner: Owner, instance_id: str, ends_at: float) -> None:
        self.owner = owner
        self.instance_id = instance_id
        self.ends_at = ends_at
        # When to check next whether it has ended: it may be renewed until then.
        self.looked_at = NEVER
        self.attached = True
        self.attempts: set[UnfinishedTask] = set()


class Leases:
    """All leases by owner. An owner without a lease has no rights; its remaining attempts are being reclaimed."""

    def __init__(self) -> None:
        self._by_owner: dict[Owner, Lease] = {}
        self._by_agent: dict[str, list[Lease]] = {}
        # (when to check, owner): one valid item for each lease, so that a renewal costs nothing here.
        self._ends: list[tuple[float, Owner]] = []
        # Ended leases whose attempts are to be reclaimed, and whether as crashes.
        self._leaving: dict[Owner, tuple[Lease, bool]] = {}

    def open(self, owner: Owner, instance_id: str, ends_at: float) -> None:
        for earlier in self.earlier(owner):
            earlier.attached = False
        lease = self._by_owner[owner] = Lease(owner, instance_id, ends_at)
        self._by_agent.setdefault(owner.agent_id, []).append(lease)
        self.end(lease, ends_at)

    def end(self, lease: Lease, at: float) -> None:
        """Set the end of a lease."""
        lease.ends_at = at
        if at < lease.looked_at:
            lease.looked_at = at
            heappush(self._ends, (at, lease.owner))

    def get(self, owner: Owner) -> Lease | None:
        return self._by_owner.get(owner)

    def holding(self, owner: Owner) -> Lease | None:
        """The lease of an owner, also an ended one that still holds attempts."""
        lease = self._by_owner.get(owner)
        if lease is None and (leaving := self._leaving.get(owner)) is not None:
            return leaving[0]
        return lease

    def drop(self, lease: Lease, *, as_crashes: bool) -> None:
        """End a lease. Its attempts will be reclaimed, as crashes or as if they had never been."""
        if self._by_owner.pop(lease.owner, None) is None:
            return
        leases = self._by_agent[lease.owner.agent_id]
        leases.remove(lease)
        if not leases:
            del self._by_agent[lease.owner.agent_id]
        if lease.attempts:
            self._leaving[lease.owner] = (lease, as_crashes)

    def to_reclaim(self, limit: int) -> list[tuple[UnfinishedTask, bool]]:
        """Attempts to reclaim now, and whether as crashes. Oldest first within a lease."""
        found: list[tuple[UnfinishedTask, bool]] = []
        for owner, (lease, as_crashes) in list(self._leaving.items()):
            room = limit - len(found)
            if room <= 0:
                break
            some = sorted(islice(lease.attempts, room), key=lambda task: task.number)
            found += [(task, as_crashes) for task in some]
            if len(some) == len(lease.attempts):
                del self._leaving[owner]
        return found

    def has(self, agent_id: str) -> bool:
        return agent_id in self._by_agent

    def in_use(self, agent_id: str, instance_id: str, now: float) -> bool:
        """Whether another process has an open session of the agent."""
        return any(
            lease.attached and lease.instance_id != instance_id and lease.ends_at > now
            for lease in self._by_agent.get(agent_id, ())
        )

    def earlier(self, owner: Owner) -> list[Lease]:
        """Leases of the same agent's earlier sessions."""
        return [lease for lease in self._by_agent.get(owner.agent_id, ()) if lease.owner.epoch < owner.epoch]

    def passed(self, now: float, limit: int) -> list[Lease]:
        """Leases that have ended, at most `limit`; the caller drops them."""
        found: list[Lease] = []
        while self._ends and self._ends[0][0] <= now and len(found) < limit:
            lease = self._valid(*heappop(self._ends))
            if lease is None:
                continue
            lease.looked_at = NEVER
            if lease.ends_at <= now:
                found.append(lease)
            else:
                self.end(lease, lease.ends_at)
        return found

    def extend(self, by_s: float) -> None:
        """Let all leases end so much later."""
        for lease in self._by_owner.values():
            self.end(lease, lease.ends_at + by_s)

    def running(self) -> Iterator[UnfinishedTask]:
        """The tasks of all held attempts."""
        for lease in self._by_owner.values():
            yield from lease.attempts
        for lease, _ in self._leaving.values():
            yield from lease.attempts

    @property
    def next_at(self) -> float:
        """When to check next; may be too early, never too late."""
        if self._leaving:
            return 0.0
        while self._ends and self._valid(*self._ends[0]) is None:
            heappop(self._ends)
        return self._ends[0][0] if self._ends else NEVER

    def _valid(self, at: float, owner: Owner) -> Lease | None:
        """The lease of a heap item; None: the item is stale."""
        lease = self._by_owner.get(owner)
        return lease if lease is not None and lease.looked_at == at else None
