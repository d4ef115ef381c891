"""Direct calls of one mesh: a balancer follows the agents by discovery, and calls go straight to them.

The coordinator only names the agents. While it is away, calls go to the agents that it named last.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf import descriptor_pool

from weft.client.methods import RecordingChannel
from weft.rpc.balancing import BalancedChannel, Balancer, BalancerLimits, Explanation
from weft.rpc.balancing.balanced_channel import BalancedCallable
from weft.rpc.balancing.connection import Callee
from weft.rpc.balancing.sticky_picks import StickyPicks, asks
from weft.rpc.contracts import descriptors
from weft.rpc.discovery import Discovery
from weft.rpc.network.agent_route import AgentRoute
from weft.rpc.network.channel import NO_TLS, Route
from weft.v1 import fleet_pb2

if TYPE_CHECKING:
    from weft.rpc.identity.ticket_book import TicketBook

# Time for the connections to the agents to be made.
SETTLE_S = 1.0
_LOOK_S = 0.01


class DirectChannel(BalancedChannel):
    """A balanced channel whose stubs' methods can be submitted too: each has its `Method`, as on a mesh's other channels."""

    def make(self, kind: type[BalancedCallable], callee: Callee) -> Any:
        made = super().make(kind, callee)
        named = getattr(RecordingChannel(), callee.shape)
        made.method = named(callee.method, callee.serializer, callee.deserializer)
        return made


def _may_run_twice(method: str) -> bool:
    """Whether a method's calls may run twice, by the generated code that this program has imported."""
    found = descriptors.find_method(descriptor_pool.Default(), method)
    return found is not None and descriptors.may_run_twice(found)


class Direct:
    """A balancer that is kept up to date. Belongs to the event loop in which it is made."""

    def __init__(
        self,
        coordinator: grpc.aio.Channel,
        policy: str,
        max_message_bytes: int,
        route: Route = NO_TLS,
    ) -> None:
        self._book: TicketBook | None = None
        if route.token is not None:
            from weft.rpc.identity.ticket_book import TicketBook

            self._book = TicketBook(coordinator, route.token, self._fleet_changed)
        self.balancer = Balancer(
            policy,
            limits=BalancerLimits(max_message_bytes=max_message_bytes),
            may_run_twice=_may_run_twice,
            route=AgentRoute(route.security, self._book),
        )
        self.balancer.sticky = StickyPicks(self.balancer, asks(coordinator))
        found = self._fleet_changed if self._book is None else self._book.fleet_changed
        self._discovery = Discovery(coordinator, found)
        self._discovery.start()

    def channel(self) -> grpc.aio.Channel:
        """A channel whose calls go to the agents. Closing it closes nothing."""
        self.balancer.home.check()
        return DirectChannel(self.balancer)

    async def explain(self, method: str, timeout_s: float) -> Explanation:
        """The choice that the balancer would make for the next call, when the agents are known and connected, or failed to connect.

        Raises:
            WeftError: no coordinator named the agents in time.
        """
        self.balancer.home.check()
        await self._discovery.ready(timeout_s)
        if self._book is not None:
            await self._book.ready(timeout_s)
        explained = self.balancer.explain(method)
        try:
            async with asyncio.timeout(SETTLE_S):
                # There is no event for the end of a connection attempt.
                while not all(c.connected for c in explained.candidates):
                    await asyncio.sleep(_LOOK_S)
                    explained = self.balancer.explain(method)
        except TimeoutError:
            pass
        return explained

    def _fleet_changed(self, agents: list[fleet_pb2.Agent]) -> None:
        self.balancer.update(agents)

    async def close(self) -> None:
        """End every call."""
        await self._discovery.close()
        if self._book is not None:
            await self._book.close()
        await self.balancer.close()
