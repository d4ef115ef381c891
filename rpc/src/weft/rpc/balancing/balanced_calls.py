"""Balanced calls: each gets an endpoint from the balancer, and another one if the first cannot have run the call.

A balanced call wraps a plain grpc.aio call to one endpoint, its attempt, and has the same interface. When an attempt ends, its
done callback decides at once whether to retry. It runs before the waiting coroutines. So these find either the ended call,
or the next attempt, and then they wait for that one.

    call ─► opening (no snapshot yet) ─► attempt ─► ended
                                           ▲  │ not run, nothing seen by the caller, budget and time left
                                           └──┘

A call with `wait_for_ready` also stays in "opening" while no agent takes its method.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
from grpc import aio

from weft.rpc import errors, refusals
from weft.rpc.balancing import retry
from weft.rpc.balancing.balancer import Balancer
from weft.rpc.balancing.connection import Callee
from weft.rpc.balancing.endpoint import Endpoint, EndpointMethod
from weft.rpc.balancing.fleet_snapshot import unknown_fleet
from weft.rpc.balancing.refused_call import Refused
from weft.rpc.calls.answer_in_time import late, usable_s
from weft.rpc.calls.at_once import at_once
from weft.rpc.calls.metadata import NO_WAIT_KEY
from weft.rpc.calls.session_keys import SESSION_KEY, StickyCall, said_session
from weft.v1 import errors_pb2

# Empty initial metadata is passed to the caller when the attempt has not ended within this time.
BARE_HEADERS_S = 0.01
# How often a waiting call looks for a connected agent. The first looks come quickly: most agents connect at once.
FIRST_LOOK_S, MAX_LOOK_S = 0.002, 0.1
# Asks an agent without a free slot to refuse the call at once.
_NO_WAIT = (NO_WAIT_KEY, "true")
_LONG_S = 365 * 86400.0


class BalancedCall(aio.Call):
    """The base of the four shapes of calls.

    Large because half of them are the interface of `aio.Call`, and the rest move one call's state.
    """

    # Whether the request can be sent again: it is a single message.
    repeatable = False
    # Whether the call's duration shows the endpoint's speed.
    timed = False
    # Why the call waits for an agent. Empty: it does not wait for one.
    _waits_for_agent_because = ""
    # The attempt may wait for a slot: there is no other agent to try.
    _waits_for_slot = True
    # The sticky session that it belongs to.
    _session: StickyCall | None = None
    # Agents exist but are not connected. They may connect without a new snapshot.
    _connecting = False

    def __init__(
        self,
        balancer: Balancer,
        callee: Callee,
        request: Any,
        timeout: float | None,
        how: dict[str, Any],
        *,
        for_others: bool,
    ) -> None:
        self._balancer = balancer
        self._callee = callee
        # The call is made for a remote caller, whose own timer ends it at the same deadline.
        self._for_others = for_others
        self._request = request
        # gRPC's options of a call: metadata, credentials, wait_for_ready, compression.
        self._how = how
        self._began_at = self._balancer.clock()
        self._deadline = None if timeout is None else self._began_at + timeout
        self._callbacks: list[Callable[[Any], Any]] = []
        self._tried: tuple[Endpoint, ...] = ()
        # The caller has received a part of an attempt's answer: no retry is possible.
        self._seen = False
        self._done = False
        self._inner: Any = None
        self._opened: asyncio.Event | None = None
        # Set when an attempt has ended; `initial_metadata` waits for it.
        self._attempt_ended: asyncio.Event | None = None
        if how["metadata"] and (refused := Refused.for_metadata(how["metadata"])):
            self._refuse(refused)
            return
        if how["metadata"] and (session := said_session(how["metadata"])) is not None:
            self._session = session
        if self._balancer.known and not self._balancer.closed and self._knows_session():
            self._start(timeout)
        else:
            self._begin_opening()

    def _knows_session(self) -> bool:
        """Whether the agent of its sticky session is known, if it has one."""
        sticky, session = self._balancer.sticky, self._session
        return session is None or sticky is None or sticky.ready(self._callee.method, session)

    def _pick(self, tried: tuple[Endpoint, ...] = ()) -> EndpointMethod:
        balancer, method = self._balancer, self._callee.method
        if self._session is None:
            return balancer.pick(method, tried)
        if balancer.sticky is None:
            raise refusals.invalid_field("this channel has no sticky sessions", field=SESSION_KEY)
        return balancer.sticky.pick(method, self._session, tried)

    # -- attempts -----------------------------------------------------------------------------------------------

    def _start(self, left_s: float | None) -> None:
        """Make the first attempt, or refuse the call. With `wait_for_ready`, wait for an agent instead."""
        try:
            hosted = self._pick()
        except errors.WeftError as error:
            if self._how["wait_for_ready"] and error.reason == errors_pb2.ERROR_REASON_NO_AGENT:
                self._wait_for_agent(error.message, connecting=False)
            else:
                self._refuse(Refused.by(error))
        else:
            if self._how["wait_for_ready"] and not hosted.endpoint.connection.ready():
                # An attempt would wait for this agent alone, which may never come back, even if others connect.
                self._balancer.withdraw(hosted)
                self._wait_for_agent(f"{hosted.endpoint.agent_id} is not connected", connecting=True)
            else:
                self._attempt(hosted, left_s)

    def _attempt(self, hosted: EndpointMethod, left_s: float | None, *, last: bool = False) -> None:
        self._hosted = hosted
        self._cost = hosted.cost
        self._attempted_at = self._balancer.clock()
        only_one = self._session is not None and self._session.hard
        self._waits_for_slot = last or not (
            self.repeatable
            and not only_one
            and self._balancer.has_another(self._callee.method, len(self._tried) + 1)
        )
        if left_s is not None and self._for_others and not hosted.endpoint.connection.ready():
            left_s = usable_s(left_s)
        how = self._how
        if not self._waits_for_slot:
            how = how | {"metadata": (*(how["metadata"] or ()), _NO_WAIT)}
        try:
            call = hosted.endpoint.connection.callable(self._callee)
            self._inner = call(self._request, timeout=left_s, **how)
        except BaseException:
            # gRPC does not take the request or an option.
            self._balancer.release(hosted, self._cost)
            raise
        self._inner.add_done_callback(self._ended)

    def _ended(self, inner: Any) -> None:
        """Handle the end of an attempt. No coroutine that waits for the attempt has run yet."""
        if self._attempt_ended is not None:
            self._attempt_ended.set()
        hosted, balancer = self._hosted, self._balancer
        code: grpc.StatusCode = at_once(inner.code())
        trailers = at_once(inner.trailing_metadata())
        ok = code is grpc.StatusCode.OK
        took_s = balancer.clock() - self._attempted_at if ok and self.timed else None
        balancer.ended(hosted, self._cost, code, trailers, took_s)
        if not ok and self._session is not None and balancer.sticky is not None:
            agent_id = hosted.endpoint.agent_id
            full = retry.was_full(trailers, agent_id)
            if full or code is grpc.StatusCode.UNAVAILABLE:
                balancer.sticky.failed(self._callee.method, self._session, agent_id, full=full)
        if not ok and self.repeatable and not self._seen and self._retry(inner, code, trailers):
            return
        late_here = code is grpc.StatusCode.DEADLINE_EXCEEDED and not trailers and not self._seen
        if late_here and not hosted.endpoint.connection.ready():
            # gRPC's own error does not say what the call waited for.
            agent = f"{hosted.endpoint.agent_id} ({hosted.endpoint.address})"
            self._inner = self._late(f"a connection to agent {agent}")
        self._finish()

    def _retry(self, inner: Any, code: grpc.StatusCode, trailers: Any) -> bool:
        """Try another endpoint, if the call may be retried and there is one. Returns whether it did."""
        balancer, endpoint = self._balancer, self._hosted.endpoint
        details = at_once(inner.details()) or ""
        if self._session is not None and self._session.hard:
            # No other process knows what this one does.
            return False
        if balancer.closed or not retry.elsewhere(
            code, details, trailers, endpoint.agent_id, self._may_run_twice
        ):
            return False
        self._tried = (*self._tried, endpoint)
        left_s = self._left_s()
        if (left_s is not None and left_s <= 0.0) or at_once(inner.initial_metadata()):
            return False
        # If all agents are full, the call waits for a slot of one of them.
        last = not self._waits_for_slot and retry.was_full(trailers, endpoint.agent_id)
        hosted = self._another(balancer.may_retry(code, endpoint, trailers), last=last)
        if hosted is None:
            return False
        balancer.stats.retries += 1
        self._attempt(hosted, left_s, last=hosted.endpoint in self._tried)
        return True

    def _may_run_twice(self) -> bool:
        marked = retry.is_marked(self._how["metadata"] or ())
        return marked or self._balancer.may_run_twice(self._callee.method)

    def _another(self, allowed: bool, *, last: bool) -> EndpointMethod | None:
        """An endpoint that was not tried, if the budget allows it. Otherwise, with `last`, any endpoint. None: there is none."""
        if allowed and len(self._tried) < retry.MAX_ATTEMPTS:
            with contextlib.suppress(errors.WeftError):
                return self._pick(self._tried)
        if last:
            with contextlib.suppress(errors.WeftError):
                return self._pick()
        return None

    def _refuse(self, refused: Refused) -> None:
        self._inner = refused
        self._finish()

    def _finish(self) -> None:
        self._done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def _left_s(self) -> float | None:
        return None if self._deadline is None else self._deadline - self._balancer.clock()

    # -- before there is an endpoint ----------------------------------------------------------------------------

    def _wait_for_agent(self, why: str, *, connecting: bool) -> None:
        self._waits_for_agent_because, self._connecting = why, connecting
        if self._opened is None:
            self._begin_opening()

    def _begin_opening(self) -> None:
        self._opened = asyncio.Event()
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        """Wait for the first snapshot, or for an agent, until the call's deadline."""
        left_s = self._left_s()
        if left_s is not None:
            wait_s: float | None = min(usable_s(left_s) if self._for_others else left_s, _LONG_S)
        else:
            # With `wait_for_ready` and no deadline, a call waits for ever, as in gRPC.
            wait_s = None if self._how["wait_for_ready"] else self._balancer.limits.first_snapshot_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._find_session()
                look_s = FIRST_LOOK_S
                # The first look is before the wait: a snapshot may have come before this task ran.
                while not self._try_to_start():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(look_s if self._connecting else None):
                            await self._balancer.changed.wait()
                    look_s = min(2 * look_s, MAX_LOOK_S)
        if self._inner is None:
            self._refuse(self._too_late(wait_s))
        self._wake()

    async def _find_session(self) -> None:
        """Ask for the agent of its sticky session, if that is not known."""
        if self._knows_session() or self._session is None or self._balancer.sticky is None:
            return
        try:
            await self._balancer.sticky.ask(self._callee.method, self._session)
        except errors.WeftError as error:
            if self._inner is None and not self._balancer.closed:
                self._refuse(Refused.by(error))

    def _try_to_start(self) -> bool:
        """Try to make the first attempt. Returns whether the call has an attempt or a refusal now."""
        if self._inner is not None:
            # The call was cancelled.
            return True
        if self._balancer.closed:
            self._refuse(Refused(grpc.StatusCode.CANCELLED, "the channel is closed"))
        elif self._balancer.known:
            try:
                self._start(self._left_s())
            except Exception as error:
                # This runs in a task of its own: no caller would see the exception.
                self._refuse(Refused(grpc.StatusCode.INTERNAL, f"the call cannot be made: {error}"))
        return self._inner is not None

    def _too_late(self, waited_s: float | None) -> Refused:
        if self._deadline is None and waited_s is not None:
            return Refused.by(unknown_fleet(waited_s))
        if self._waits_for_agent_because:
            return self._late(f"an agent: {self._waits_for_agent_because}")
        return self._late("a coordinator that names the agents")

    def _late(self, what: str) -> Refused:
        return Refused.by(late(self._balancer.clock() - self._began_at, what))

    def _wake(self) -> None:
        if self._opened is not None:
            self._opened.set()

    async def _current(self) -> Any:
        """The current attempt, or the refusal. Waits until there is one."""
        if self._inner is None:
            assert self._opened is not None
            try:
                await self._opened.wait()
            except asyncio.CancelledError:
                self.cancel()
                raise
        return self._inner

    async def _lasting(self, ask: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """Ask the last attempt. The answers of attempts that were retried are dropped."""
        if self._done:
            return await ask(self._inner)
        while True:
            inner = await self._current()
            try:
                answer = await ask(inner)
            except aio.AioRpcError:
                if inner is self._inner:
                    raise
            else:
                if inner is self._inner:
                    return answer

    # -- the interface of `aio.Call` ------------------------------------------------------------------------------

    async def first_headers(self) -> aio.Metadata:
        """The initial metadata as it is. Empty also if the attempt was refused, and another one follows."""
        found: aio.Metadata = await self._lasting(lambda inner: inner.initial_metadata())
        return found

    async def initial_metadata(self) -> aio.Metadata:
        while True:
            found, inner = await self.first_headers(), self._inner
            if not found and self.repeatable and not self._done and not self._seen:
                # A refused attempt also has empty initial metadata, and its status comes a little later.
                self._attempt_ended = asyncio.Event()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BARE_HEADERS_S):
                        await self._attempt_ended.wait()
            if inner is self._inner:
                self._seen = True
                return found

    async def trailing_metadata(self) -> aio.Metadata:
        if self._done:
            # The common case (a relay asks each ended call), made quick.
            ended: aio.Metadata = await self._inner.trailing_metadata()
            return ended
        found: aio.Metadata = await self._lasting(lambda inner: inner.trailing_metadata())
        return found

    async def code(self) -> grpc.StatusCode:
        found: grpc.StatusCode = await self._lasting(lambda inner: inner.code())
        return found

    async def details(self) -> str:
        found: str = await self._lasting(lambda inner: inner.details())
        return found

    async def debug_error_string(self) -> str:
        found: str = await self._lasting(lambda inner: inner.debug_error_string())
        return found

    async def wait_for_connection(self) -> None:
        await self._lasting(lambda inner: inner.wait_for_connection())

    def cancel(self) -> bool:
        if self._done:
            return False
        if self._inner is None:
            self._refuse(Refused.cancelled_here())
            self._opening.cancel()
            self._wake()
            return True
        cancelled: bool = self._inner.cancel()
        return cancelled

    def cancelled(self) -> bool:
        return self._inner is not None and bool(self._inner.cancelled())

    def done(self) -> bool:
        return self._done

    def time_remaining(self) -> float | None:
        left_s = self._left_s()
        return None if left_s is None else max(0.0, left_s)

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)
