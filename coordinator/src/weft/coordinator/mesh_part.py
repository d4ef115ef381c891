"""What a mesh does besides running tasks: schedules, groups, logs. Each is a part with services, passes and waits of its own, over the store of
the mesh."""

from __future__ import annotations

from typing import Any

from weft.rpc.errors import WeftError
from weft.v1 import post_pb2


class MeshPart:
    """A part that its mesh starts, stops, and tells what has happened. A part has the methods that it needs; the others do nothing."""

    def add_to(self, server: Any) -> None:
        """Serve its services.

        Args:
            server: a server for generated code.
        """

    def start(self) -> None:
        """Begin. The store is open."""

    async def stop(self, why: WeftError | None) -> None:
        """End streams and waiting calls, and passes. Bounded in time.

        Args:
            why: what ends them. None: the coordinator is stopping.
        """

    def rows_changed(self, kind: str) -> bool:  # noqa: ARG002
        """Some coordinator has changed rows of a kind in the store's table. True: `keep_house` is to look at them soon."""
        return False

    def fleet_moved(self) -> None:
        """Agents have joined, changed or gone. Costs nothing if the part has nothing to do with them."""

    def posted(self, post: post_pb2.CoordinatorPost) -> None:
        """A coordinator has told all of them something (`FleetStore.post`)."""

    def session_ended(self, session: Any) -> None:
        """The session of an agent here has ended. `session`: an `AgentSession`."""

    async def keep_house(self, now_s: float) -> None:
        """A part of each pass of the sweeper, several times a second: it must cost nothing while there is nothing to do.

        Args:
            now_s: by the monotonic clock.
        """

    async def methods(self) -> set[str]:
        """The methods of the tasks that it will submit: their contracts are needed."""
        return set()

    @property
    def next_at(self) -> float | None:
        """When something is due next, by the store's clock; None: no time is known."""
        return None

    @property
    def keeps_open(self) -> bool:
        """Whether it has something to do though no agent is connected and no task is unfinished."""
        return False

    async def run_due(self) -> None:
        """Do all that is due now."""
