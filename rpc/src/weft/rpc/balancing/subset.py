"""Deterministic subsetting (gRFC A68): of a large fleet each client uses a part, and always the same part. Pure.

Every endpoint has a place by the hash of its address and the client's seed. One that comes or goes changes at most one
place in the part, so that connections stay.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable
from typing import TypeVar

SIZE = 256

T = TypeVar("T")


def subset(items: Iterable[T], address: Callable[[T], str], seed: int, size: int = SIZE) -> list[T]:
    """At most `size` of the items, those with the least hashes; all of them, in their order, when they are no more."""
    every = list(items)
    if len(every) <= size:
        return every
    return heapq.nsmallest(size, every, key=lambda item: (_place(address(item), seed), address(item)))


def _place(address: str, seed: int) -> bytes:
    salt = (seed % 2**64).to_bytes(8, "big")
    return hashlib.blake2b(address.encode(), digest_size=8, salt=salt).digest()
