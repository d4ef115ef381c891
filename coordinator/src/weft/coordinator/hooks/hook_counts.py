"""What became of the requests of hooks: counted in memory, and added to the store's counts some seconds later.

A coordinator that is killed loses the counts of these seconds, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from weft.coordinator.hooks.hook_codec import COUNTS_KIND, KIND
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowPut, TableRow
from weft.rpc.times import seconds, timestamp
from weft.v1 import hook_pb2

# Between two writes.
EVERY_S = 5.0
# Hooks of one write.
_MOST_WRITTEN = 500
MAX_ERROR_CHARS = 256

ACCEPTED, REPEATED, FILTERED, UNSIGNED, FAILED = "accepted", "repeated", "filtered", "unsigned", "failed"
OUTCOMES = (ACCEPTED, REPEATED, FILTERED, UNSIGNED, FAILED)
# No hook of this path, so that none has the count.
UNKNOWN = "unknown"


class HookCounts:
    """The counts of the hooks of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By name: the counts that are not written yet.
        self._waiting: dict[str, hook_pb2.StoredHookCounts] = {}
        self._write_at_s = 0.0
        # All requests since the start, by outcome.
        self._totals: Counter[str] = Counter()

    def totals(self) -> Iterator[tuple[tuple[str], float]]:
        """Requests so far, by outcome."""
        for outcome in (*OUTCOMES, UNKNOWN):
            yield (outcome,), self._totals[outcome]

    def unknown(self) -> None:
        """A request came for a hook that there is not."""
        self._totals[UNKNOWN] += 1

    def add(self, name: str, uid: str, outcome: str, error: str = "") -> None:
        """A request was dealt with.

        Args:
            error: why it was refused.
        """
        self._totals[outcome] += 1
        waiting = self._waiting.get(name)
        if waiting is None or waiting.uid != uid:
            waiting = self._waiting[name] = hook_pb2.StoredHookCounts(uid=uid)
        counts, field = waiting.counts, f"{outcome}_count"
        setattr(counts, field, getattr(counts, field) + 1)
        now = timestamp(self._store.now())
        if outcome != UNSIGNED:
            counts.last_time.CopyFrom(now)
        if error:
            counts.last_error = error[:MAX_ERROR_CHARS]
            counts.last_error_time.CopyFrom(now)

    async def keep_house(self, now_s: float) -> None:
        """Write what waits, if it is time for that."""
        if self._waiting and now_s >= self._write_at_s:
            self._write_at_s = now_s + EVERY_S
            await self.write()

    async def write(self) -> None:
        """Add what waits to the store's counts. What another coordinator changes meanwhile waits for the next time."""
        names = list(self._waiting)[:_MOST_WRITTEN]
        hooks = await self._store.get_rows(KIND, names)
        rows = dict(zip(names, await self._store.get_rows(COUNTS_KIND, names), strict=True))
        # Without those that another writing has taken: the last one may be beside one of housekeeping.
        waited = [
            (name, hook, self._waiting.pop(name))
            for name, hook in zip(names, hooks, strict=True)
            if name in self._waiting
        ]
        # Those of a hook that is deleted meanwhile would stay for ever, or take the place of those of another with its name.
        taken = {name: counts for name, hook, counts in waited if _is_of(counts, hook)}
        puts = [
            RowPut(
                COUNTS_KIND,
                name,
                _sum(None if (row := rows[name]) is None else row.value, counts).SerializeToString(),
                None,
                0 if row is None else row.revision,
            )
            for name, counts in taken.items()
        ]
        try:
            results = await self._store.put_rows(puts)
        except BaseException:
            self._put_back(taken)
            raise
        self._put_back(
            {
                name: counts
                for (name, counts), result in zip(taken.items(), results, strict=True)
                if not isinstance(result, int)
            }
        )

    def _put_back(self, counts: Mapping[str, hook_pb2.StoredHookCounts]) -> None:
        for name, each in counts.items():
            newer = self._waiting.get(name)
            if newer is None:
                self._waiting[name] = each
            elif newer.uid == each.uid:
                self._waiting[name] = _sum(each.SerializeToString(), newer)


def _is_of(counts: hook_pb2.StoredHookCounts, hook: TableRow | None) -> bool:
    """Whether counts are those of the hook in a row."""
    return hook is not None and hook_pb2.StoredHook.FromString(hook.value).hook.uid == counts.uid


def _sum(stored: bytes | None, added: hook_pb2.StoredHookCounts) -> hook_pb2.StoredHookCounts:
    """Counts together; those of an earlier hook of the name are left out."""
    total = hook_pb2.StoredHookCounts.FromString(stored or b"")
    if total.uid != added.uid:
        return added
    for outcome in OUTCOMES:
        field = f"{outcome}_count"
        setattr(total.counts, field, getattr(total.counts, field) + getattr(added.counts, field))
    if seconds(added.counts.last_time) >= seconds(total.counts.last_time):
        total.counts.last_time.CopyFrom(added.counts.last_time)
    if seconds(added.counts.last_error_time) > seconds(total.counts.last_error_time):
        total.counts.last_error = added.counts.last_error
        total.counts.last_error_time.CopyFrom(added.counts.last_error_time)
    return total
