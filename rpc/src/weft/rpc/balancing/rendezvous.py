"""Chooses by a key: the same key gets the same candidate, wherever it is asked, as long as the candidates are the same. If one leaves, only its own
keys get another one. Pure.

Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998 (highest random weight); the weights as in Schindelhauer and
Schomaker, "Weighted Distributed Hash Tables", 2005.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

_BYTES = 7
_RANGE = 1 << 8 * _BYTES


def choose(key: str, candidates: Iterable[tuple[str, float]]) -> str:
    """The name of the key's candidate, of (name, weight): each gets keys in proportion to its weight, which is above 0. Empty: there are none."""
    return max(candidates, key=lambda each: (_score(key, *each), each[0]), default=("", 0.0))[0]


def _score(key: str, name: str, weight: float) -> float:
    digest = hashlib.blake2b(f"{name}\n{key}".encode(), digest_size=_BYTES).digest()
    # Above 0 and below 1: both ends would have no logarithm to divide by.
    share = (int.from_bytes(digest, "big") + 0.5) / _RANGE
    return -weight / math.log(share)
