"""Fair order of tasks with different fairness keys: start-time fair queueing.

Each ready task has a tag; within a queue and a priority, the smallest tag is served first, then the oldest task. A key's tags
are 1/weight apart, so that keys with queued tasks are served in turns, by weight, and a key that was idle is not served for
the past. A tag is computed once, when the task becomes ready: a claim costs the same with a thousand keys as with one.

Source: Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996. Pure.
"""

from __future__ import annotations

# The distance between two tasks of a key with weight 1: tags are integers, so that every store has the same order.
TAG_UNIT = 1 << 10
# Tags stay below this: it is what the Redis store's scores have room for.
MAX_TAG = 1 << 42
MIN_WEIGHT, MAX_WEIGHT = 0.01, 1000.0
# Keys that are remembered before the first look at which of them can be forgotten.
_REMEMBERED = 64
# Keys that one queue and priority remembers at most. Of more, those with the smallest tags are forgotten: each may have one
# turn too many.
MOST_KEYS = 10_000


def tag_step(weight: float) -> int:
    """The distance between two tasks of a key with this weight."""
    return max(1, round(TAG_UNIT / min(MAX_WEIGHT, max(MIN_WEIGHT, weight))))


class FairOrder:
    """The tags of one queue and priority: `virtual` is the tag of the last claimed task, the queue's own time."""

    __slots__ = ("_finishes", "_tidy_at", "virtual")

    def __init__(self) -> None:
        self.virtual = 0
        # By key: where its next tag may begin. Without the keys for which that is past.
        self._finishes: dict[str, int] = {}
        self._tidy_at = _REMEMBERED

    def tag(self, key: str, weight: float) -> int:
        """The tag of a task that becomes ready."""
        finishes = self._finishes
        start = min(MAX_TAG - 1, max(self.virtual, finishes.get(key, 0)))
        finishes[key] = start + tag_step(weight)
        if len(finishes) > self._tidy_at:
            self._forget_past()
        return start

    def claimed(self, tag: int) -> None:
        """A task with this tag was claimed."""
        self.virtual = max(self.virtual, tag)

    def _forget_past(self) -> None:
        kept = {key: finish for key, finish in self._finishes.items() if finish > self.virtual}
        if len(kept) > MOST_KEYS:
            kept = dict(sorted(kept.items(), key=lambda item: item[1])[-MOST_KEYS // 2 :])
        self._finishes = kept
        self._tidy_at = 2 * len(self._finishes) + _REMEMBERED
