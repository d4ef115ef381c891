"""The events of a watcher of the fleet, each with its time.

async with Watching(channel) as watching:
    await watching.until(lambda agents: "a1" in agents, "a1 is there")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import grpc.aio

from tests.support.processes import until
from weft.rpc.discovery import Discovery
from weft.v1 import fleet_pb2

Seen = Mapping[str, fleet_pb2.Agent]


class Watching:
    """A `Discovery` whose every update is kept."""

    def __init__(self, channel: grpc.aio.Channel, *, methods: tuple[str, ...] = ()) -> None:
        self.updates: list[tuple[float, Seen]] = []
        self.discovery = Discovery(channel, self._updated, methods=methods)

    @property
    def agents(self) -> Seen:
        return self.updates[-1][1] if self.updates else {}

    async def until(
        self, condition: Callable[[Seen], bool], what: str, *, since: int = 0, timeout_s: float = 20.0
    ) -> float:
        """Wait until an update from the `since`-th on fulfils a condition; gives when that came (`time.monotonic`)."""

        def when() -> float | None:
            return next((at_s for at_s, agents in self.updates[since:] if condition(agents)), None)

        await until(lambda: when() is not None, f"{what}; last: {self.agents}", timeout_s=timeout_s)
        found = when()
        assert found is not None
        return found

    def _updated(self, agents: list[fleet_pb2.Agent]) -> None:
        self.updates.append((time.monotonic(), {agent.id: agent for agent in agents}))

    async def __aenter__(self) -> Self:
        self.discovery.start()
        await self.discovery.ready(20)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discovery.close()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "discovery"]
