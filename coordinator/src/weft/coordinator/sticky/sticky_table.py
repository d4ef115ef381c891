"""The agents of sticky sessions: rows of the store's table, and what this coordinator remembers of them.

begin, move ─► row, by compare-and-set: the first coordinator decides, the others take what it wrote
use         ─► a note here; the row's end is moved a few times in a session's idle time, not with each call
moved       ─► one row of another kind, at most once a second, so that the other coordinators read their sessions again
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from weft.coordinator.sticky import sticky_codec
from weft.coordinator.store.base import Store
from weft.coordinator.store.sticky_agent import StickyAgent
from weft.coordinator.store.table_store import (
    MAX_CHANGES,
    MAX_KEY_BYTES,
    RowDelete,
    RowPut,
    TableRow,
    TooManyRows,
)
from weft.rpc.calls.session_keys import LEAST_IDLE_TTL_S, StickyCall
from weft.rpc.times import seconds, timestamp
from weft.v1 import sticky_pb2

KIND = "sticky"
# One row: changes of it tell that sessions have moved.
MOVES_KIND = "sticky-moves"
# Sessions that a coordinator remembers. Others are read when they are used.
MOST_KNOWN = 10_000
# A session's end is moved when so much of its idle time has passed.
EXTEND_AFTER = 0.25
# Others are told of moves at most so often: each time they read the sessions again that they use.
TELL_S = 1.0
_MOVES = RowPut(MOVES_KIND, MOVES_KIND, b"")
_PAGE = 250


class SessionName(NamedTuple):
    """What makes a session one of its own."""

    service: str
    hard: bool
    key: str

    @property
    def row(self) -> str:
        """The key of its row."""
        name = f"{self.service}\n{'hard' if self.hard else 'soft'}\n{self.key}"
        return name if len(name) <= MAX_KEY_BYTES else f"#{hashlib.sha256(name.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session with its agent. Times by the store's clock.

    Attributes:
        due_at: when it ends, if no call comes.
        revision: of its row; 0: it has none yet.
    """

    name: SessionName
    agent: StickyAgent
    idle_ttl_s: float
    began_at: float
    due_at: float
    revision: int = 0

    def record(self) -> sticky_pb2.StickySessionRecord:
        """As it is told, and kept."""
        call = StickyCall(self.name.key, self.name.hard, self.idle_ttl_s)
        return sticky_pb2.StickySessionRecord(
            service=self.name.service,
            session=sticky_codec.message(call, self.agent.agent_id),
            instance_id=self.agent.instance_id,
            begin_time=timestamp(self.began_at),
            expire_time=timestamp(self.due_at),
        )


def kept_session(row: TableRow) -> KeptSession:
    """A session by its row."""
    record = sticky_pb2.StickySessionRecord.FromString(row.value)
    session = record.session
    return KeptSession(
        SessionName(record.service, session.mode == sticky_codec.HARD, session.key),
        StickyAgent(session.agent_id, record.instance_id),
        seconds(session.idle_ttl),
        seconds(record.begin_time),
        row.due_at or 0.0,
        row.revision,
    )


class StickyTable:
    """The sessions of a mesh. An idle one without sessions asks the store once, and then no more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # The one that was used longest ago comes first.
        self._known: dict[SessionName, KeptSession] = {}
        # Idle times of sessions whose end is to be moved.
        self._used: dict[SessionName, float] = {}
        # Whether others are still to be told of moves; and when they were last, by the store's clock.
        self._moved, self._told_at = False, 0.0
        # When the next look for ended ones is due; None: there is nothing to look for.
        self._look_at: float | None = 0.0

    async def find(self, names: Collection[SessionName]) -> Mapping[SessionName, KeptSession]:
        """Those sessions that there are and have not ended."""
        known = self._known
        unknown = [name for name in names if name not in known]
        if unknown:
            rows = await self._store.get_rows(KIND, [name.row for name in unknown])
            for name, row in zip(unknown, rows, strict=True):
                if row is not None:
                    self._keep(replace(kept_session(row), name=name))
        found: dict[SessionName, KeptSession] = {}
        now = self._store.now()
        for name in names:
            kept = known.pop(name, None)
            if kept is not None:
                known[name] = kept
                if kept.due_at > now:
                    found[name] = kept
        return found

    async def put(self, sessions: Sequence[KeptSession]) -> Sequence[KeptSession | TooManyRows | None]:
        """Write sessions that begin or move, each with the revision that it had.

        Returns:
            each as written; None: another coordinator has changed it, read it again; TooManyRows: there is no room for it.
        """
        ended = {name: kept for each in sessions if (kept := self._known.get(name := each.name)) is not None}
        puts = [
            RowPut(
                KIND,
                each.name.row,
                each.record().SerializeToString(),
                each.due_at,
                # One that has ended still has its row.
                each.revision or (ended[each.name].revision if each.name in ended else 0),
            )
            for each in sessions
        ]
        told = any(put.expected for put in puts) and self._may_tell()
        results = await self._put([*puts, _MOVES] if told else puts)
        written: list[KeptSession | TooManyRows | None] = []
        for each, put, result in zip(sessions, puts, results, strict=False):
            if isinstance(result, int):
                kept = replace(each, revision=result)
                self._keep(kept)
                self._moved = self._moved or (bool(put.expected) and not told)
                self._look_soon(each.due_at)
                written.append(kept)
            else:
                self._known.pop(each.name, None)
                written.append(result if isinstance(result, TooManyRows) else None)
        return written

    async def _put(self, puts: Sequence[RowPut]) -> list[object]:
        found: list[object] = []
        for at in range(0, len(puts), MAX_CHANGES):
            found += await self._store.put_rows(puts[at : at + MAX_CHANGES])
        return found

    def used(self, kept: KeptSession, idle_ttl_s: float) -> None:
        """A call uses a session: its end moves. Costs nothing but a look most of the time."""
        now = self._store.now()
        if kept.idle_ttl_s == idle_ttl_s and kept.due_at - now > (1 - EXTEND_AFTER) * idle_ttl_s:
            return
        self._used[kept.name] = idle_ttl_s
        self._keep(replace(kept, idle_ttl_s=idle_ttl_s, due_at=now + idle_ttl_s))

    async def end(self, name: SessionName) -> bool:
        """End a session. False: there is none."""
        found = await self.find([name])
        (deleted,) = await self._store.delete_rows([RowDelete(KIND, name.row)])
        self._known.pop(name, None)
        self._used.pop(name, None)
        if deleted is True:
            self._moved = True
            await self._tell_moved()
        return deleted is True and name in found

    def forget(self) -> None:
        """Sessions have moved at another coordinator: read them again."""
        for name in [name for name in self._known if name not in self._used]:
            del self._known[name]

    def rows_changed(self) -> None:
        """Sessions have begun, moved or ended, here or elsewhere."""
        self._look_soon(self._store.now() + LEAST_IDLE_TTL_S)

    def _look_soon(self, at: float) -> None:
        self._look_at = at if self._look_at is None else min(self._look_at, at)

    async def keep_house(self) -> None:
        """Move the ends of used sessions, tell of moves, delete those that have ended. Costs nothing if there is nothing to do."""
        if self._used:
            used, self._used = self._used, {}
            try:
                await self._extend(used)
            except BaseException:
                # Nothing else would move their ends: the next pass does.
                self._used = used | self._used
                raise
        await self._tell_moved()
        if self._look_at is not None and self._store.now() >= self._look_at:
            self._look_at = None
            await self._delete_ended()

    async def _extend(self, used: Mapping[SessionName, float]) -> None:
        names = list(used)
        for at in range(0, len(names), _PAGE):
            portion = names[at : at + _PAGE]
            rows = await self._store.get_rows(KIND, [name.row for name in portion])
            now = self._store.now()
            extended = [
                replace(kept_session(row), name=name, idle_ttl_s=used[name], due_at=now + used[name])
                for name, row in zip(portion, rows, strict=True)
                if row is not None
            ]
            puts = [
                RowPut(KIND, each.name.row, each.record().SerializeToString(), each.due_at, each.revision)
                for each in extended
            ]
            for each, result in zip(extended, await self._store.put_rows(puts) if puts else (), strict=True):
                if isinstance(result, int):
                    self._keep(replace(each, revision=result))
                else:
                    self._known.pop(each.name, None)
            for name, row in zip(portion, rows, strict=True):
                if row is None:
                    # It was ended meanwhile.
                    self._known.pop(name, None)

    def _may_tell(self) -> bool:
        """Whether others are to be told at once that sessions have moved: at most once a second."""
        now = self._store.now()
        if not self._store.shared or abs(now - self._told_at) < TELL_S:
            return False
        self._told_at = now
        return True

    async def _tell_moved(self) -> None:
        if self._moved and self._may_tell():
            self._moved = False
            await self._store.put_rows([_MOVES])

    async def _delete_ended(self) -> None:
        while True:
            due = await self._store.due_rows(KIND, _PAGE)
            # One that is used meanwhile has another revision.
            deletes = [
                RowDelete(KIND, row.key, row.revision)
                for row in due.rows
                if kept_session(row).name not in self._used
            ]
            if deletes:
                await self._store.delete_rows(deletes)
                self._drop(due.rows)
            if len(due.rows) < _PAGE or not deletes:
                if due.next_at is not None:
                    self._look_soon(due.next_at)
                return

    def _drop(self, rows: Iterable[TableRow]) -> None:
        for row in rows:
            name = kept_session(row).name
            kept = self._known.get(name)
            if kept is not None and kept.revision == row.revision and name not in self._used:
                del self._known[name]

    def _keep(self, kept: KeptSession) -> None:
        known = self._known
        known.pop(kept.name, None)
        while len(known) >= MOST_KNOWN:
            del known[next(iter(known))]
        known[kept.name] = kept
