"""Task ids: a number, its text form, and the digests of requests and request ids.

A number has microseconds since the epoch in the high bits, then 10 bits that start at random in each microsecond and count up:
tasks sort by age. In the embedded store it is the SQLite rowid, so that no second index is needed.
"""

from __future__ import annotations

import random
import re
from hashlib import blake2b

from weft.coordinator.store.records import Submission

_LOW_BITS = 10
# Half of the low range stays free for counting up within a microsecond.
_RANDOM_BITS = 9
_DIGITS = 16
_TEXT = re.compile("[0-9a-f]{16}")
# A task is stored far sooner.
FRESH_S = 10.0
# Of a request's digest.
DIGEST_BYTES = 16


def format_id(number: int) -> str:
    """A number as text: opaque to clients, of fixed width, and sorted like the numbers."""
    return f"{number:016x}"


def parse_id(text: str) -> int | None:
    """The number behind a client's task id; None: no store has generated it."""
    # int() also takes signs, prefixes, underscores and capitals.
    if not _TEXT.fullmatch(text):
        return None
    number = int(text, 16)
    return number if 0 < number < 1 << 63 else None


def least_number_at(at: float) -> int:
    """No task that was created at or after `at` has a smaller number."""
    return max(0, min(round(at * 1e6), (1 << 53) - 1)) << _LOW_BITS


def created_at(number: int, now: float) -> float:
    """When a task was created, to the microsecond: when its number was generated, and not after `now`.

    Numbers run ahead of a clock that was set back. This time does not.
    """
    return min(number >> _LOW_BITS, round(now * 1e6)) / 1e6


def is_fresh(task_id: str, now: float) -> bool:
    """Whether a task with this id may have been made so lately that it runs before it is stored."""
    number = parse_id(task_id[:_DIGITS])
    return number is not None and number >> _LOW_BITS > (now - FRESH_S) * 1e6


class NumberGenerator:
    """Generates numbers that only grow, even if the clock is set back.

    Args:
        last: the largest number ever used in this store.
    """

    def __init__(self, last: int, rng: random.Random) -> None:
        self._last = last
        self._rng = rng

    def next(self, now: float) -> int:
        floor = least_number_at(now)
        if floor > self._last:
            self._last = floor + self._rng.getrandbits(_RANDOM_BITS)
        else:
            self._last += 1
        return self._last


def request_key(request_id: str) -> int:
    """A 63-bit digest of a request id: an index of numbers takes a third of an index of texts."""
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest(), "big") >> 1


def request_digest(method: str, form: bytes) -> bytes:
    """The identity of a request: its method, and its payload in a form that all its serializations share."""
    digest = blake2b(method.encode(), digest_size=DIGEST_BYTES)
    digest.update(b"\0")
    digest.update(form)
    return digest.digest()


def digest_of(submission: Submission) -> bytes:
    """The digest of a submission's request."""
    return submission.request_digest or request_digest(submission.method, submission.payload)
