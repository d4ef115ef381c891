"""Transparent direct calls: `weft-mode: direct` takes a call past the store, straight to the least-loaded agent.

    caller ─► this coordinator's port ─► relay ─► balancer ─► an agent's direct server

For callers that can reach a coordinator but no agents. The balancer follows the fleet by discovery from the first such call
on; without such calls it costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, cast

import grpc

from weft.coordinator.calls.call_options import check_direct
from weft.coordinator.contracts.method_info import MethodInfo
from weft.rpc.balancing import BalancedChannel, Balancer, BalancerLimits
from weft.rpc.balancing.sticky_picks import Find, StickyPicks
from weft.rpc.calls import metadata, relay
from weft.rpc.calls.admission import Admission
from weft.rpc.calls.call_keys import LINEAGE, RETRY_KEY
from weft.rpc.calls.session_keys import SESSION_KEYS
from weft.rpc.calls.traced_calls import traced_handler
from weft.rpc.contracts.descriptors import may_run_twice
from weft.rpc.network.agent_route import PLAIN, AgentRoute
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.span_tracer import SpanTracer
from weft.v1 import fleet_pb2

log = get_logger(__name__)

# The keys of weft's own that go on to the agent.
_KEPT = frozenset({*LINEAGE, RETRY_KEY, *SESSION_KEYS})
# Methods that have been called, far more than a mesh has.
KEPT_HANDLERS = 4096

# The fleet, now and after each change.
Snapshots = Callable[[], AsyncGenerator[Sequence[fleet_pb2.Agent]]]


class DirectCalls:
    """Makes handlers for direct calls. Belongs to the event loop of the server.

    Args:
        snapshots: follows the fleet.
        find: the method in force; None: it is unknown.
        max_message_bytes: largest request or response.
        route: how agents are reached. Its tickets are the coordinator's own: it has let the caller in.
        observe: told of each call that has ended.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        find: Callable[[str], MethodInfo | None],
        max_message_bytes: int,
        tracer: SpanTracer | None = None,
        *,
        route: AgentRoute = PLAIN,
        observe: relay.Observe | None = None,
    ) -> None:
        self._tracer = tracer
        self._observe = observe
        self._snapshots = snapshots
        self._find = find
        self.balancer = Balancer(
            limits=BalancerLimits(max_message_bytes=max_message_bytes),
            may_run_twice=self._may_run_twice,
            route=route,
        )
        self._channel = BalancedChannel(self.balancer, for_others=True)
        self._feeding: asyncio.Task[None] | None = None
        # By method.
        self._handlers: dict[str, tuple[int, grpc.RpcMethodHandler[Any, Any]]] = {}

    def find_sessions_by(self, find: Find) -> None:
        """Set what finds the agents of sticky sessions."""
        self.balancer.sticky = StickyPicks(self.balancer, find)

    def handler(self, info: MethodInfo, admission: Admission) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler for direct calls of this method, bounded by `admission`."""
        if self._feeding is None:
            self._feeding = asyncio.get_running_loop().create_task(self._feed())
        known = self._handlers.get(info.name)
        if known is not None and known[0] == info.kind:
            return known[1]
        kind = cast("fleet_pb2.MethodKind", info.kind)
        passing = relay.handler(self._channel, f"/{info.name}", kind, _outgoing, observe=self._observe)
        if self._tracer is not None:
            passing = traced_handler(passing, info.name, self._tracer, passes_on=True)
        made = admission.bounded(passing)
        if len(self._handlers) >= KEPT_HANDLERS:
            self._handlers.clear()
        self._handlers[info.name] = (info.kind, made)
        return made

    def _may_run_twice(self, method: str) -> bool:
        info = self._find(method)
        return info is not None and may_run_twice(info.descriptor)

    async def close(self) -> None:
        """Stop following the fleet, and close the balancer's connections."""
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        await self.balancer.close()

    async def _feed(self) -> None:
        try:
            async with contextlib.aclosing(self._snapshots()) as snapshots:
                async for agents in snapshots:
                    self.balancer.update(agents)
        except Exception:
            log.exception("direct.fleet_not_followed")
            # The next call starts it again.
            self._feeding = None


def _outgoing(context: relay.Context) -> metadata.Pairs:
    """The metadata that goes on to the agent: the caller's own, the call's lineage, and whether it may be retried. Not its token: agents must not
    collect them."""
    check_direct(context.invocation_metadata() or ())
    return relay.passed_on(context, _KEPT.__contains__)
