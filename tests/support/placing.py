"""Placement plug-ins for tests of whole meshes."""

from __future__ import annotations

import threading

from weft.coordinator.dispatch.placement_plugin import FreeAgent


class Second:
    """Prefers the agent `second`."""

    def rank(self, method: str, candidate: FreeAgent) -> float:
        return float(candidate.agent_id != "second")


class Hanging:
    """Never answers."""

    def rank(self, method: str, candidate: FreeAgent) -> float:
        threading.Event().wait()
        return 0.0
