"""The balancer: chooses an endpoint for each direct call, from snapshots of the fleet.

    snapshot ─► endpoints ─► pool of a method ─► available ones ─► policy ─► endpoint
                   ▲                                                            │
                   └── in flight, load, pace, faults ◄── the call's end ◄───────┘

A balancer belongs to one event loop. It does no I/O itself: the channels of the endpoints do. Time and randomness are arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from weft.rpc import refusals
from weft.rpc.balancing import (
    fleet_snapshot,
    least_connections,
    outliers,
    reported_load,
    retry,
    round_robin,
    slow_start,
    speed,
    weighted,
)
from weft.rpc.balancing.connection import Connection, together
from weft.rpc.balancing.endpoint import TURNED_AWAY_S, Endpoint, EndpointMethod, callable_now
from weft.rpc.balancing.explanation import Explanation, explained
from weft.rpc.balancing.outliers import FAULTS, OutlierRules
from weft.rpc.balancing.policy import Moment, Policy
from weft.rpc.balancing.pool import SHARE_OF_NEWEST, EndpointPool, standing
from weft.rpc.balancing.retry_budget import RetryBudget
from weft.rpc.balancing.stats import Stats
from weft.rpc.balancing.sticky_picks import StickyPicks
from weft.rpc.balancing.subset import SIZE, subset
from weft.rpc.calls.metadata import LOAD_KEY
from weft.rpc.network.agent_route import PLAIN, AgentRoute
from weft.rpc.network.channel import MAX_MESSAGE_BYTES
from weft.rpc.process.home_loop import HomeLoop
from weft.v1 import fleet_pb2

POLICIES: dict[str, Policy] = {
    "least_connections": least_connections.choose,
    "round_robin": round_robin.choose,
    "weighted": weighted.choose,
}

# How long calls on an endpoint that has left the fleet may still run.
LEAVE_S = 600.0
# When all endpoints are at their bound, a caller should retry after this time.
RETRY_AFTER_S = 0.1


@dataclass(frozen=True, slots=True)
class BalancerLimits:
    """The balancer's bounds and times. The defaults fit most programs."""

    # The most slots that this client's own calls may use at one endpoint.
    outstanding: int = 10_000
    # Largest request or response.
    max_message_bytes: int = MAX_MESSAGE_BYTES
    # The most endpoints of a method that this client uses.
    subset: int = SIZE
    slow_start_s: float = slow_start.WINDOW_S
    # How long a call without a deadline waits for the first snapshot.
    first_snapshot_s: float = 5.0
    outliers: OutlierRules = field(default_factory=OutlierRules)


class Balancer:
    """Chooses endpoints for direct calls. Large because all of its methods work on the same endpoints and pools.

    Args:
        policy: one of `POLICIES`.
        seed: makes choices and the subset repeatable. None: they are random.
        limits: bounds and times.
        clock: monotonic seconds.
        may_run_twice: whether calls of a method, "pkg.Service/Method", may run twice by its contract. Asked when a call
            has failed. Default: no method's calls may.
        route: TLS of the connections, and the tickets that calls show.
    """

    def __init__(
        self,
        policy: str = "least_connections",
        *,
        seed: int | None = None,
        limits: BalancerLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        may_run_twice: Callable[[str], bool] = lambda _: False,
        route: AgentRoute = PLAIN,
    ) -> None:
        if policy not in POLICIES:
            raise refusals.invalid_field(
                f"there is no policy {policy!r}; there are {', '.join(POLICIES)}", field="policy"
            )
        self.policy = policy
        self.limits = limits or BalancerLimits()
        self.stats = Stats()
        self.budget = RetryBudget()
        self.clock = clock
        self.may_run_twice = may_run_twice
        self._route = route
        self.home = HomeLoop("a channel for direct calls", "call connect(...)")
        # Set by each snapshot and by the close: it wakes the waiting calls.
        self.changed = asyncio.Event()
        self.known = False
        self.closed = False
        self._choose = POLICIES[policy]
        self._random = random.Random(seed)  # noqa: S311
        self._subset_seed = self._random.getrandbits(64)
        # A random start: clients must not all begin with the same endpoint.
        self._turn = self._random.getrandbits(32)
        # The newest snapshot, including the agents that take no direct calls.
        self._fleet: tuple[fleet_pb2.Agent, ...] = ()
        self._endpoints: dict[fleet_snapshot.Key, Endpoint] = {}
        self._pools: dict[str, EndpointPool] = {}
        self._sweep_at = clock() + self.limits.outliers.interval_s
        # Finds the endpoints of sticky sessions; None: calls of these are refused.
        self.sticky: StickyPicks | None = None
        # Endpoints that have left the fleet and still run calls, and the tasks that close them.
        self._leaving: dict[Endpoint, asyncio.Task[None]] = {}

    # -- the fleet ----------------------------------------------------------------------------------------------

    def update(self, agents: Iterable[fleet_pb2.Agent]) -> None:
        """Take a new snapshot of the whole fleet. Calls on endpoints that left the fleet run to their end."""
        if self.closed:
            return
        now = self.clock()
        # No slow start for the first snapshot: all its endpoints are equally new.
        window_s = self.limits.slow_start_s if self.known else 0.0
        self._fleet = tuple(fleet_snapshot.as_dialled(agents, secured=self._route.security is not None))
        present: dict[fleet_snapshot.Key, Endpoint] = {}
        for agent in self._fleet:
            if not agent.advertised_address:
                continue
            key = fleet_snapshot.key(agent)
            endpoint = self._endpoints.get(key)
            if endpoint is None:
                endpoint = Endpoint(agent, self._connection(agent), now, window_s)
            elif endpoint.agent is not agent:
                endpoint.apply(agent, now)
            present[key] = endpoint
        gone = [endpoint for key, endpoint in self._endpoints.items() if key not in present]
        self._endpoints = present
        # The pools in use are built and looked at now, so that their endpoints connect before the next call.
        self._pools = {method: self._pool(method, pool.pace) for method, pool in self._pools.items()}
        for pool in self._pools.values():
            pool.look(now)
        for endpoint in gone:
            self._leaving[endpoint] = asyncio.get_running_loop().create_task(self._close_when_idle(endpoint))
        self.known = True
        self._wake()

    async def close(self) -> None:
        """End every call and close every connection."""
        if self.closed:
            return
        self.closed = True
        self.home.close()
        self._wake()
        for task in self._leaving.values():
            task.cancel()
        endpoints = [*self._endpoints.values(), *self._leaving]
        self._endpoints, self._leaving = {}, {}
        self._pools.clear()
        for endpoint in endpoints:
            await endpoint.connection.close()

    def _connection(self, agent: fleet_pb2.Agent) -> Connection:
        bound = self.limits.max_message_bytes
        route = self._route.to(agent.id, agent.instance_id, agent.tls_name)
        return Connection(agent.advertised_address, bound, agent.tls_name, route)

    # -- a call -------------------------------------------------------------------------------------------------

    def pick(self, method: str, tried: Collection[Endpoint] = ()) -> EndpointMethod:
        """Choose the endpoint for the next attempt, and count the attempt there. `ended`, `release` or `withdraw` must follow.

        Raises:
            Unavailable: no agent takes direct calls of the method (NO_AGENT).
            Unimplemented: no agent that hosts the service has the method (METHOD_UNKNOWN).
            ResourceExhausted: each endpoint of the method is at its bound or was tried (OVERLOADED).
        """
        pool = self._open_pool(method)
        among = pool.open
        moment = Moment(self.clock(), self._turn, self._random.random, pool.pace.seconds)
        # Only first attempts take a turn. Otherwise, if one of two endpoints refuses, it would get each first attempt.
        self._turn += not tried
        hosted = among[0] if len(among) == 1 else self._choose(among, moment)
        if hosted.endpoint in tried or self._is_full(hosted):
            hosted = self._choose(self._free(pool, method, tried), moment)
        return self.take(hosted, panic=pool.panic)

    def free(self, method: str, tried: Collection[Endpoint]) -> Sequence[EndpointMethod]:
        """The endpoints that `pick` would choose from, at least one. Raises: as `pick`."""
        return self._free(self._open_pool(method), method, tried)

    def hosted_at(self, method: str, agent_id: str, instance_id: str = "") -> EndpointMethod | None:
        """A method at one agent, if that takes calls; with `instance_id`, at one process of it. None: it does not."""
        hosting = [each for each in self._endpoints.values() if each.agent_id == agent_id]
        for endpoint in callable_now(hosting):
            if instance_id in ("", endpoint.agent.instance_id) and method in endpoint.hosted:
                hosted = endpoint.hosted[method]
                return None if standing(hosted, self.clock()).refused or self._is_full(hosted) else hosted
        return None

    def take(self, hosted: EndpointMethod, *, panic: bool = False) -> EndpointMethod:
        """Count an attempt that is going to be made."""
        self.stats.panics += panic
        self.stats.picks[hosted.endpoint.agent_id] += 1
        hosted.endpoint.in_flight += hosted.cost
        return hosted

    def _open_pool(self, method: str) -> EndpointPool:
        """The method's pool, which has open endpoints."""
        if (now := self.clock()) >= self._sweep_at:
            self._sweep(now)
        pool = self._pools.get(method) or self._find_pool(method)
        pool.look(now)
        if not pool.open:
            self.stats.no_agent += 1
            raise fleet_snapshot.no_agent(self._fleet, method)
        return pool

    def _free(self, pool: EndpointPool, method: str, tried: Collection[Endpoint]) -> Sequence[EndpointMethod]:
        bound = self.limits.outstanding
        if not (among := pool.among(tried, bound)):
            self.stats.bound_refusals += not tried
            raise refusals.overloaded(
                f"every endpoint of {method} has {bound} unanswered calls of this client",
                metadata={"method": method},
                retry_after_s=RETRY_AFTER_S,
            )
        return among

    def _is_full(self, hosted: EndpointMethod) -> bool:
        return hosted.endpoint.in_flight + hosted.cost > self.limits.outstanding

    def has_another(self, method: str, tried: int) -> bool:
        """Whether a call that `tried` endpoints refused may try one more. If so, an attempt should not wait for a slot."""
        pool = self._pools.get(method)
        return (
            pool is not None and len(pool.open) > tried and tried < retry.MAX_ATTEMPTS and self.budget.allows
        )

    def ended(
        self,
        hosted: EndpointMethod,
        cost: int,
        code: grpc.StatusCode,
        trailers: Any,
        took_s: float | None,
    ) -> None:
        """Count the end of an attempt.

        Args:
            hosted: the endpoint that `pick` returned.
            cost: the cost of a call at that time.
            code: the attempt's status.
            trailers: the attempt's trailing metadata.
            took_s: how long the attempt took. None: not measured (failures, and streams: their length is no sign of speed).
        """
        endpoint = hosted.endpoint
        now = self.clock()
        report = None if trailers is None else trailers.get(LOAD_KEY)
        if isinstance(report, bytes) and (used := reported_load.used_slots(report)) is not None:
            # Before the attempt is released: the agent's report includes this call.
            endpoint.reported(used, now)
        self.release(hosted, cost)
        if code is grpc.StatusCode.OK:
            endpoint.lost = False
            outliers.succeeded(endpoint.record)
            self.budget.succeeded()
            if took_s is not None and (pool := self._pools.get(hosted.method)) is not None:
                typical_s = pool.pace.seconds
                hosted.pace.measured(took_s, now, typical_s)
                pool.pace.measured(took_s, now, typical_s, SHARE_OF_NEWEST)
        elif retry.turned_away(code, trailers, endpoint.agent_id):
            # The agent runs nothing. It would look the least loaded and get every call until the next snapshot.
            hosted.refuses_until = now + TURNED_AWAY_S
            self._availability_changed()
        elif retry.connection_lost(code, trailers):
            # No series: one broken connection fails all of its calls.
            endpoint.record.failures += 1
            self._availability_changed()
        elif code in outliers.SERIES_FAULTS:
            if outliers.failed(endpoint.record, self.limits.outliers):
                self._eject(endpoint, now)
        elif code in FAULTS:
            endpoint.record.failures += 1

    def release(self, hosted: EndpointMethod, cost: int) -> None:
        """Uncount an attempt that `pick` counted: it has ended, or did not start."""
        endpoint = hosted.endpoint
        endpoint.in_flight -= cost
        if endpoint.emptied is not None and not endpoint.in_flight:
            endpoint.emptied.set()

    def withdraw(self, hosted: EndpointMethod) -> None:
        """Undo a pick: its endpoint was not connected, and no attempt was made."""
        self.release(hosted, hosted.cost)
        self.stats.picks[hosted.endpoint.agent_id] -= 1
        self._availability_changed()

    def may_retry(self, code: grpc.StatusCode, endpoint: Endpoint, trailers: Any) -> bool:
        """Whether the retry budget allows a retry after this failure. Counts the failure."""
        if retry.turned_away(code, trailers, endpoint.agent_id):
            # The agent leaves and gets no more calls. This is no sign of trouble, so it costs no budget.
            return True
        lost = retry.connection_lost(code, trailers)
        # A broken connection counts as one failure.
        if not (lost and endpoint.lost):
            self.budget.failed()
        endpoint.lost = lost
        if self.budget.allows:
            return True
        self.stats.budget_refusals += 1
        return False

    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints that it knows, and those that have left and still run calls. From any thread."""
        return [*list(self._endpoints.values()), *list(self._leaving)]

    # -- views --------------------------------------------------------------------------------------------------

    def explain(self, method: str) -> Explanation:
        """Which endpoint the next call of "package.Service/Method" would get, and why. Makes no call."""
        pool = self._pools.get(method) or self._find_pool(method)
        copied = random.Random()  # noqa: S311
        copied.setstate(self._random.getstate())
        moment = Moment(self.clock(), self._turn, copied.random, pool.pace.seconds)
        return explained(method, self.policy, self._choose, pool, moment, self._fleet)

    def connectivity(self) -> grpc.ChannelConnectivity:
        """The connectivity of the channel as a whole."""
        if self.closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if not self.known:
            return grpc.ChannelConnectivity.CONNECTING
        return together({e.connection.state() for e in self._endpoints.values() if e.active})

    # -- inside -------------------------------------------------------------------------------------------------

    def _find_pool(self, method: str) -> EndpointPool:
        pool = self._pool(method, speed.Pace())
        # No pool is kept for an unhosted method: calls of made-up methods must not fill the memory.
        if pool.members:
            self._pools[method] = pool
        return pool

    def _pool(self, method: str, pace: speed.Pace) -> EndpointPool:
        hosting = [endpoint for endpoint in self._endpoints.values() if method in endpoint.hosted]
        hosted = [endpoint.hosted[method] for endpoint in callable_now(hosting)]
        members = subset(hosted, lambda h: h.endpoint.address, self._subset_seed, self.limits.subset)
        return EndpointPool(members, pace)

    def _eject(self, endpoint: Endpoint, now: float) -> None:
        """Eject an endpoint after a series of failures, unless enough are ejected."""
        if outliers.may_eject([each.record for each in self._endpoints.values()], self.limits.outliers):
            outliers.eject(endpoint.record, now)
            self.stats.ejections += 1
            self._availability_changed()

    def _sweep(self, now: float) -> None:
        rules = self.limits.outliers
        self._sweep_at = now + rules.interval_s
        records = [endpoint.record for endpoint in self._endpoints.values()]
        self.stats.ejections += outliers.sweep(records, rules, now, self._random.random)
        self._availability_changed()

    def _availability_changed(self) -> None:
        """Make each pool look again: the available endpoints have changed."""
        for pool in self._pools.values():
            pool.invalidate()

    async def _close_when_idle(self, endpoint: Endpoint) -> None:
        """Close the endpoint's connection when its calls have ended."""
        # Not by gRPC's own grace: a channel that closes with a grace cannot be closed sooner.
        endpoint.emptied = asyncio.Event()
        if endpoint.in_flight:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await endpoint.emptied.wait()
        del self._leaving[endpoint]
        await endpoint.connection.close()

    def _wake(self) -> None:
        woken, self.changed = self.changed, asyncio.Event()
        woken.set()
