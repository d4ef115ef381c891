"""Agents: their descriptions, the epochs of their last sessions, and their desired states."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import replace

from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.records import AgentRecord, Owner

# weft.v1.DesiredState: active.
_ACTIVE = 1
# The bits above hold the generation of the store, which grows with each opening: epochs grow for ever.
_COUNTER_BITS = 32


class AgentTable:
    """Agents by id, in memory and in the file."""

    def __init__(self, connection: sqlite3.Connection, journal: Journal, generation: int) -> None:
        self._journal = journal
        self._last_epoch = generation << _COUNTER_BITS
        self.records = {
            row[0]: AgentRecord(row[0], row[1], row[2], row[5], bool(row[3]), row[4], bool(row[6]))
            for row in connection.execute(
                "SELECT agent_id, instance_id, epoch, connected, desired_state, description, said_goodbye"
                " FROM agents"
            )
        }
        # Changed since the last `take_news`.
        self._news = set(self.records)

    def take_news(self, also: Collection[str]) -> dict[str, AgentRecord | None]:
        """Agents that have changed since the last call, and those in `also`; None: not known."""
        news, self._news = self._news.union(also), set()
        return {agent_id: self.records.get(agent_id) for agent_id in news}

    def connected(self) -> dict[str, Owner]:
        """The last sessions of connected agents, by agent."""
        return {
            record.agent_id: Owner(record.agent_id, record.epoch)
            for record in self.records.values()
            if record.connected
        }

    def register(self, agent_id: str, instance_id: str, description: bytes) -> Owner:
        """Open a new session."""
        self._last_epoch += 1
        known = self.records.get(agent_id)
        desired_state = _ACTIVE if known is None else known.desired_state
        self._put(AgentRecord(agent_id, instance_id, self._last_epoch, description, True, desired_state))
        return Owner(agent_id, self._last_epoch)

    def ended(self, owner: Owner, *, left: bool) -> None:
        """Note that a session is over; `left`: by a goodbye. Does nothing if a later session is open."""
        record = self.records.get(owner.agent_id)
        if record is not None and record.connected and record.epoch == owner.epoch:
            self._put(replace(record, connected=False, left=left))

    def set_desired(self, agent_id: str, desired_state: int) -> bool:
        record = self.records.get(agent_id)
        if record is None:
            return False
        self._put(replace(record, desired_state=desired_state))
        return True

    def forget(self, agent_id: str) -> None:
        record = self.records.get(agent_id)
        if record is not None and not record.connected:
            del self.records[agent_id]
            self._news.add(agent_id)
            self._journal.add_statement("DELETE FROM agents WHERE agent_id = ?", agent_id)

    def _put(self, record: AgentRecord) -> None:
        self.records[record.agent_id] = record
        self._news.add(record.agent_id)
        self._journal.add_statement(
            "INSERT OR REPLACE INTO agents"
            " (agent_id, instance_id, epoch, connected, desired_state, description, said_goodbye)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            record.agent_id,
            record.instance_id,
            record.epoch,
            record.connected,
            record.desired_state,
            record.description,
            record.left,
        )
