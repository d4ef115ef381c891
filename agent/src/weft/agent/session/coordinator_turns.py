"""The coordinators that an agent dials, one after another, for ever: those of its settings, or those that a source names at the time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from weft.rpc.network.targets import is_source


class CoordinatorTurns:
    """Whose turn it is. Each agent has its own order, so that the agents of a lost coordinator spread over the others.

    Args:
        targets: from `targets.parse`.

    Raises:
        MissingExtra: what the source needs is not installed.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self._followed = None
        self._order: tuple[str, ...] = ()
        self._known: frozenset[str] = frozenset()
        self._next = 0
        if is_source(targets[0]):
            # Imported here: most agents have addresses.
            from weft.rpc.registries.followed import follow

            self._followed = follow(targets[0])
        else:
            self._order = tuple(random.sample(targets, len(targets)))

    @property
    def addresses(self) -> Sequence[str]:
        """All of them now."""
        return self._order if self._followed is None else self._followed.addresses

    def take(self) -> str:
        """The next one; empty: none is known."""
        if self._followed is not None and self._followed.known is not self._known:
            self._known, self._next = self._followed.known, 0
            # The source has put them into an order.
            self._order = self._followed.addresses
        if not self._order:
            return ""
        self._next += 1
        return self._order[(self._next - 1) % len(self._order)]

    def close(self) -> None:
        """Follow the source no longer. A second time: nothing."""
        if self._followed is not None:
            self._followed.release()
            self._followed = None
