"""Direct calls of sticky sessions: each goes to the agent that has its session.

    the call says a session ─► known here, and its agent takes calls ─► that endpoint
                               else ask a coordinator (FindStickySession), which knows or chooses ─► that endpoint
                                    soft, and it is not to be had ─► another one, by the key's hash: the same for all calls of the session
                                    hard ─► the call is refused, and says why

What a coordinator said is used for some seconds, and as long as the agent takes calls. While no coordinator answers, it goes on being used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import grpc
import grpc.aio

from weft.rpc import errors, refusals
from weft.rpc.balancing import rendezvous
from weft.rpc.balancing.endpoint import Endpoint, EndpointMethod
from weft.rpc.calls.session_keys import StickyCall
from weft.v1 import sticky_pb2, sticky_pb2_grpc

# Sessions that are remembered. Others are asked for again.
MOST_KNOWN = 10_000
# An agent that a coordinator has just named is not asked for again so soon, though it takes no calls here.
AGAIN_S = 1.0
# How long soft calls go elsewhere when their agent had no free slot: each refusal costs a round trip.
FULL_S = 1.0
# How long a coordinator may take to answer.
ANSWER_S = 5.0

# Asks a coordinator for the agent of a session, by the method that is called.
Find = Callable[[str, StickyCall], Awaitable[sticky_pb2.FindStickySessionResponse]]


class Endpoints(Protocol):
    """The part of a balancer that knows its endpoints."""

    # Monotonic seconds.
    clock: Callable[[], float]

    def free(self, method: str, tried: Collection[Endpoint]) -> Sequence[EndpointMethod]:
        """The endpoints that may be chosen, at least one."""
        ...

    def hosted_at(self, method: str, agent_id: str, instance_id: str = "") -> EndpointMethod | None:
        """A method at one agent, if that takes calls."""
        ...

    def take(self, hosted: EndpointMethod) -> EndpointMethod:
        """Count an attempt that is going to be made."""
        ...


class _Name(NamedTuple):
    service: str
    hard: bool
    key: str


@dataclass(frozen=True, slots=True)
class _Known:
    agent_id: str
    instance_id: str
    # By the balancer's clock: until when it holds; and until when it is not asked for again though the agent takes no calls here, since it took
    # none when it was said.
    until: float
    again_at: float = 0.0
    # Until then soft calls go elsewhere: the agent had no free slot.
    full_until: float = 0.0


class StickyPicks:
    """Chooses endpoints for calls of sticky sessions. Belongs to its balancer's event loop.

    Args:
        find: asks a coordinator; raises WeftError.
    """

    def __init__(self, balancer: Endpoints, find: Find) -> None:
        self._balancer = balancer
        self._find = find
        # The one that was asked for longest ago comes first.
        self._known: dict[_Name, _Known] = {}
        # Many calls of a session at a time share one question.
        self._asking: dict[_Name, asyncio.Task[_Known]] = {}

    def ready(self, method: str, call: StickyCall) -> bool:
        """Whether a call may start without asking."""
        known, now = self._known.get(_name(method, call)), self._balancer.clock()
        if known is None or now >= known.until:
            return False
        return now < known.again_at or self._takes_calls(method, call, known)

    def _takes_calls(self, method: str, call: StickyCall, known: _Known) -> bool:
        process = known.instance_id if call.hard else ""
        return self._balancer.hosted_at(method, known.agent_id, process) is not None

    async def ask(self, method: str, call: StickyCall) -> None:
        """Ask a coordinator for the session's agent.

        Raises:
            WeftError: the session is hard, and is lost, or no coordinator knows its agent.
        """
        name = _name(method, call)
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.get_running_loop().create_task(
                self._ask(name, method, call)
            )
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        try:
            # One call that ends must not end the question of the others.
            await asyncio.shield(asking)
        except errors.RetryLater:
            # What is known goes on: only the agent's process can tell that it is gone. A soft call goes by the hash.
            if call.hard and name not in self._known:
                raise
        except errors.WeftError:
            self._known.pop(name, None)
            if call.hard:
                raise

    async def _ask(self, name: _Name, method: str, call: StickyCall) -> _Known:
        try:
            async with asyncio.timeout(ANSWER_S):
                said = await self._find(method, call)
        except TimeoutError:
            raise refusals.unreachable(
                f"no coordinator has told within {ANSWER_S:g} s which agent has the sticky session {call.key!r}"
            ) from None
        now = self._balancer.clock()
        known = _Known(said.agent_id, said.instance_id, now + said.valid.ToTimedelta().total_seconds())
        if not self._takes_calls(method, call, known):
            known = replace(known, again_at=now + AGAIN_S)
        self._known.pop(name, None)
        while len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[name] = known
        return known

    def pick(self, method: str, call: StickyCall, tried: Collection[Endpoint] = ()) -> EndpointMethod:
        """Choose the endpoint for the next attempt, and count the attempt there, as `Balancer.pick`.

        Raises:
            WeftError: as `Balancer.pick`; and Unavailable (NO_AGENT), if the agent of a hard session takes no calls here.
        """
        name = _name(method, call)
        known = self._known.get(name)
        hosted = (
            self._of_process(method, call, known) if call.hard else self._soft(method, call, known, tried)
        )
        if known is not None and known.again_at and hosted.endpoint.agent_id == known.agent_id:
            # It takes calls here now: when it takes none again, that is news.
            self._known[name] = replace(known, again_at=0.0)
        return self._balancer.take(hosted)

    def _soft(
        self, method: str, call: StickyCall, known: _Known | None, tried: Collection[Endpoint]
    ) -> EndpointMethod:
        """The endpoint for a call of a soft session."""
        free = self._balancer.free(method, tried)
        if known is not None and self._balancer.clock() < known.full_until:
            free = [each for each in free if each.endpoint.agent_id != known.agent_id] or free
            known = None
        hosted = next(
            (each for each in free if known is not None and each.endpoint.agent_id == known.agent_id), None
        )
        if hosted is None and known is not None:
            # The client may use a part of a large fleet only, and the agent be in another part.
            hosted = self._balancer.hosted_at(method, known.agent_id)
            if hosted is not None and hosted.endpoint in tried:
                hosted = None
        if hosted is None:
            service = method.rpartition("/")[0]
            weights = ((each.endpoint.agent_id, each.endpoint.slots) for each in free)
            chosen = rendezvous.choose(f"{service}\nsoft\n{call.key}", weights)
            hosted = next(each for each in free if each.endpoint.agent_id == chosen)
        return hosted

    def _of_process(self, method: str, call: StickyCall, known: _Known | None) -> EndpointMethod:
        """The endpoint of the process that has a hard session."""
        hosted = (
            None if known is None else self._balancer.hosted_at(method, known.agent_id, known.instance_id)
        )
        if hosted is None:
            agent = "its agent" if known is None else f"agent {known.agent_id}, which has it,"
            raise refusals.no_agent(
                f"the sticky session {call.key!r} is hard, and {agent} takes no direct calls of {method} here now",
                metadata={"method": method},
            )
        return hosted

    def failed(self, method: str, call: StickyCall, agent_id: str, *, full: bool) -> None:
        """An attempt at an agent found it gone: the next call asks again. Or it found no free slot: for a moment, others get the calls."""
        name = _name(method, call)
        known = self._known.get(name)
        if known is not None and known.agent_id == agent_id:
            until = self._balancer.clock() + FULL_S
            self._known[name] = replace(known, full_until=until) if full else replace(known, until=0.0)


def asks(coordinator: grpc.aio.Channel) -> Find:
    """Asks a coordinator over a channel, which leads to it or to any of several."""
    stub = sticky_pb2_grpc.StickySessionServiceStub(coordinator)

    async def find(method: str, call: StickyCall) -> sticky_pb2.FindStickySessionResponse:
        request = sticky_pb2.FindStickySessionRequest(method=method, session=call.message())
        try:
            asked = stub.FindStickySession(request, timeout=ANSWER_S)
            answer: sticky_pb2.FindStickySessionResponse = await asked
        except grpc.aio.AioRpcError as error:
            raise errors.from_call(error) from None
        except (grpc.aio.UsageError, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The channel was closed.
            raise refusals.unreachable("the channel to the coordinators is closed") from None
        return answer

    return find


def _name(method: str, call: StickyCall) -> _Name:
    return _Name(method.rpartition("/")[0], call.hard, call.key)
