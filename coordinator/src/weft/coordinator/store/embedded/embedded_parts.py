"""What an embedded store keeps besides tasks, each in a module of its own."""

from __future__ import annotations

from weft.coordinator.store.embedded.embedded_events import EmbeddedEvents
from weft.coordinator.store.embedded.embedded_fleet import EmbeddedFleet
from weft.coordinator.store.embedded.embedded_groups import EmbeddedGroups
from weft.coordinator.store.embedded.embedded_queue_moves import EmbeddedQueueMoves
from weft.coordinator.store.embedded.embedded_rows import EmbeddedRows
from weft.coordinator.store.embedded.embedded_states import EmbeddedStates
from weft.coordinator.store.embedded.embedded_steps import EmbeddedSteps


class EmbeddedParts(
    EmbeddedFleet,
    EmbeddedRows,
    EmbeddedGroups,
    EmbeddedEvents,
    EmbeddedQueueMoves,
    EmbeddedStates,
    EmbeddedSteps,
):
    """All of it; `EmbeddedStore` makes the parts."""
