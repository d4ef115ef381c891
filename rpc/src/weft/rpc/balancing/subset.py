"""Deterministic subsetting (gRFC A68): each client uses a part of a large fleet, and always the same part. Pure.

The hash of an endpoint's address and the client's seed ranks the endpoint. An endpoint that comes or goes changes at most one
endpoint of the part, so that the other connections stay.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable
from typing import TypeVar

SIZE = 256

T = TypeVar("T")


def subset(items: Iterable[T], address: Callable[[T], str], seed: int, size: int = SIZE) -> list[T]:
    """The `size` items with the lowest hashes. If there are no more than `size`, all of them, in their order."""
    every = list(items)
    if len(every) <= size:
        return every
    return heapq.nsmallest(size, every, key=lambda item: (_place(address(item), seed), address(item)))


def _place(address: str, seed: int) -> bytes:
    salt = (seed % 2**64).to_bytes(8, "big")
    return hashlib.blake2b(address.encode(), digest_size=8, salt=salt).digest()
