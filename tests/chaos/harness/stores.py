"""The stores that `make chaos` knows: what each can be hit in, and how its deployment is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos.harness.deployment import Deployment, Part
from tests.chaos.harness.embedded import Embedded


@dataclass(frozen=True, slots=True)
class Store:
    """`make` gives a deployment in a folder, which has not started."""

    parts: frozenset[Part]
    make: Callable[[Path], Deployment]


STORES: Mapping[str, Store] = {
    f"embedded-{durability}": Store(Embedded.parts, partial(Embedded, durability=durability))
    for durability in ("process", "full")
}
