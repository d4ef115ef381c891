"""The servicer of `ArbiterService`.

a call ─► its resource's lock, with the book ─► agents' amounts read ─► rules ─► the book changed with the answer
"""

from __future__ import annotations

import time
from typing import Any, NoReturn

import grpc
import grpc.aio

from weft.agent import current_task
from weft.client.agent_snapshot import AgentState
from weft.rpc.errors import TooLarge
from weft.rpc.times import duration, timestamp
from weft.services.arbiter import book_rules as rules
from weft.services.arbiter.books import (
    DEFAULT_PRIORITY,
    claim_of,
    claims_of,
    digest,
    present,
    reservation_of,
    seconds_of,
    task_options_of,
)
from weft.services.arbiter.conflict_text import conflict_text
from weft.services.arbiter.settings import ArbiterSettings
from weft.services.arbiter.v1 import arbiter_pb2, arbiter_pb2_grpc

# How far ahead a reservation may begin, and how long it may last.
MAX_AHEAD_S = 366 * 86_400.0
MAX_LASTS_S = 31 * 86_400.0
Context = grpc.aio.ServicerContext[Any, Any]


class ArbiterService(arbiter_pb2_grpc.ArbiterServiceServicer):
    """Keeps books in the states of locks, and nothing in itself."""

    def __init__(self, settings: ArbiterSettings) -> None:
        self._settings = settings

    async def Reserve(
        self, request: arbiter_pb2.ReserveRequest, context: Context
    ) -> arbiter_pb2.ReserveResponse:
        now_s, book = _opened()
        own_id = request.reservation_id or current_task().id
        of_agents = request.resource not in self._settings.amounts
        known = next((each for each in book if each.id == own_id), None)
        if known is not None:
            if known.request_digest != digest(request):
                await _abort(context, grpc.StatusCode.ALREADY_EXISTS, f"{own_id} is another reservation")
            options = task_options_of(known, now_s, of_agents=of_agents)
            return arbiter_pb2.ReserveResponse(reservation=known, task_options=options)
        if len(book) >= self._settings.max_reservations:
            await _full(context, request.resource, len(book))
        capacity = await self._capacity(request.resource, context)
        claim = await _wanted(request, own_id, now_s, context)
        claims = claims_of(book)
        gone: list[rules.Claim] = []
        try:
            short = rules.first_shortage(claims, claim, capacity)
            if short is not None and request.HasField("latest_start_time"):
                claim, short = _later(claims, claim, capacity, request, short)
            if short is not None and request.displace:
                gone = rules.displaced(claims, claim, capacity, now_s) or []
                short = None if gone else short
            if short is not None:
                first_s = rules.first_fit(claims, claim, capacity)
                await _abort(
                    context,
                    grpc.StatusCode.FAILED_PRECONDITION,
                    conflict_text(request.resource, book, claims, short, first_s, now_s),
                )
        except rules.TooManySelectorsError:
            await _too_many_selectors(context, request.resource)
        moved = {each.id for each in gone}
        for each in book:
            if each.id in moved:
                each.displaced_by = own_id
        made = reservation_of(request, own_id, claim, now_s)
        await _keep([*book, made], context)
        return arbiter_pb2.ReserveResponse(
            reservation=made,
            task_options=task_options_of(made, now_s, of_agents=of_agents),
            displaced=[each for each in book if each.id in moved],
        )

    async def Extend(
        self, request: arbiter_pb2.ExtendRequest, context: Context
    ) -> arbiter_pb2.ExtendResponse:
        now_s, book = _opened()
        held = await _held(book, request.reservation_id, request.holder, context)
        end_s, claim = seconds_of(request.end_time), claim_of(held)
        if end_s <= max(now_s, claim.start_s) or end_s - claim.start_s > MAX_LASTS_S:
            await _abort(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "end_time: it is in the future, after the start, and at most 31 days after that",
            )
        if end_s > claim.end_s:
            capacity = await self._capacity(request.resource, context)
            more = rules.Claim(claim.id, claim.amount, claim.selector, claim.end_s, end_s, claim.priority)
            claims = claims_of(book, without=held.id)
            try:
                short = rules.first_shortage(claims, more, capacity)
            except rules.TooManySelectorsError:
                await _too_many_selectors(context, request.resource)
            if short is not None:
                text = conflict_text(request.resource, book, claims, short, None, now_s)
                await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, text)
        held.end_time.CopyFrom(request.end_time)
        await _keep(book, context)
        return arbiter_pb2.ExtendResponse(reservation=held)

    async def HandOver(
        self, request: arbiter_pb2.HandOverRequest, context: Context
    ) -> arbiter_pb2.HandOverResponse:
        _, book = _opened()
        found = await _found(book, request.reservation_id, context)
        if found.holder != request.new_holder:
            found = await _held(book, request.reservation_id, request.holder, context)
            found.holder = request.new_holder
            await _keep(book, context)
        return arbiter_pb2.HandOverResponse(reservation=found)

    async def Release(
        self, request: arbiter_pb2.ReleaseRequest, context: Context
    ) -> arbiter_pb2.ReleaseResponse:
        _, book = _opened()
        if all(each.id != request.reservation_id for each in book):
            return arbiter_pb2.ReleaseResponse(released=False)
        held = await _found(book, request.reservation_id, context)
        await _check_holder(held, request.holder, context)
        await _keep([each for each in book if each.id != held.id], context)
        return arbiter_pb2.ReleaseResponse(released=True)

    async def CheckReservation(
        self, request: arbiter_pb2.CheckReservationRequest, context: Context
    ) -> arbiter_pb2.CheckReservationResponse:
        now_s, book = _opened()
        held = await _held(book, request.reservation_id, request.holder, context)
        claim = claim_of(held)
        why = ""
        if now_s < claim.start_s:
            why = f"it begins in {claim.start_s - now_s:.3g} s"
        elif request.amount > held.amount:
            why = f"it is for {held.amount:g} {held.resource}, and {request.amount:g} are wanted"
        if why:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, f"{held.id} does not hold: {why}")
        return arbiter_pb2.CheckReservationResponse(reservation=held, remaining=duration(claim.end_s - now_s))

    async def ListReservations(
        self, request: arbiter_pb2.ListReservationsRequest, context: Context
    ) -> arbiter_pb2.ListReservationsResponse:
        now_s, book = _opened()
        capacity, claims = rules.Capacity(await self._amounts(request.resource)), claims_of(book)
        risky = rules.at_risk(claims, capacity)
        for each in book:
            each.at_risk = each.id in risky
        book.sort(key=lambda each: (seconds_of(each.start_time), each.id))
        return arbiter_pb2.ListReservationsResponse(
            reservations=[each for each in book if request.holder in {"", each.holder}],
            capacity=capacity.total,
            reserved=sum(each.amount for each in claims if each.holds_at(now_s)),
        )

    async def ExplainConflict(
        self, request: arbiter_pb2.ExplainConflictRequest, context: Context
    ) -> arbiter_pb2.ExplainConflictResponse:
        now_s, book = _opened()
        capacity = await self._capacity(request.resource, context)
        claim, claims = await _wanted(request, "", now_s, context), claims_of(book)
        try:
            short = rules.first_shortage(claims, claim, capacity)
            first_s = rules.first_fit(claims, claim, capacity)
        except rules.TooManySelectorsError:
            await _too_many_selectors(context, request.resource)
        answer = arbiter_pb2.ExplainConflictResponse(
            fits=short is None, capacity=capacity.of(frozenset([claim.selector]))
        )
        if first_s is not None:
            answer.first_fit_time.CopyFrom(timestamp(first_s))
        if short is not None:
            by_id = {each.id: each for each in book}
            answer.reason = conflict_text(request.resource, book, claims, short, first_s, now_s)
            answer.conflicts.extend(by_id[each.id] for each in rules.in_the_way(claims, short))
            answer.conflict_time.CopyFrom(timestamp(short.at_s))
        return answer

    # -- how much there is ----------------------------------------------------------------------------------------

    async def _capacity(self, resource: str, context: Context) -> rules.Capacity:
        amounts = await self._amounts(resource)
        if not amounts:
            await _abort(
                context,
                grpc.StatusCode.NOT_FOUND,
                f"nobody has {resource!r}: agents declare it (weft agent --resource {resource}=1), or WEFT_ARBITER_AMOUNTS says how much there is",
            )
        return rules.Capacity(amounts)

    async def _amounts(self, resource: str) -> list[tuple[dict[str, str], float]]:
        """Of each agent its labels, and how much it has."""
        if resource in self._settings.amounts:
            return [({}, self._settings.amounts[resource])]
        agents = await current_task().mesh.fleet.agents()
        away = (AgentState.LOST, AgentState.LEFT)
        return [
            (dict(each.labels), each.resources[resource])
            for each in agents
            if resource in each.resources and each.state not in away
        ]


def _opened() -> tuple[float, list[arbiter_pb2.Reservation]]:
    """The time, and the reservations of the call's book that have not ended."""
    now_s = time.time()
    return now_s, present(current_task().state.message(arbiter_pb2.Book), now_s)


async def _keep(reservations: list[arbiter_pb2.Reservation], context: Context) -> None:
    """Leave the book in the state of the lock: it is stored with the answer. Ends of reservations end an unused one, too."""
    state = current_task().state
    if not reservations:
        state.delete()
        return
    last_s = max(seconds_of(each.end_time) for each in reservations)
    try:
        state.set(arbiter_pb2.Book(reservations=reservations), ttl_s=max(1.0, last_s - time.time() + 60.0))
    except TooLarge as error:
        await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, f"the book is full: {error.message}")


async def _wanted(
    request: arbiter_pb2.ReserveRequest | arbiter_pb2.ExplainConflictRequest,
    own_id: str,
    now_s: float,
    context: Context,
) -> rules.Claim:
    start_s = max(now_s, seconds_of(request.start_time)) if request.HasField("start_time") else now_s
    if start_s - now_s > MAX_AHEAD_S:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "start_time: it is at most 366 days ahead")
    priority = DEFAULT_PRIORITY
    if isinstance(request, arbiter_pb2.ReserveRequest) and request.HasField("priority"):
        priority = request.priority
    end_s = start_s + request.duration.ToTimedelta().total_seconds()
    selector = frozenset(request.labels.items())
    return rules.Claim(own_id, request.amount, selector, start_s, end_s, priority)


def _later(
    claims: list[rules.Claim],
    claim: rules.Claim,
    capacity: rules.Capacity,
    request: arbiter_pb2.ReserveRequest,
    short: rules.Shortage,
) -> tuple[rules.Claim, rules.Shortage | None]:
    """The claim at the first time at which it fits, if that is not too late."""
    first_s = rules.first_fit(claims, claim, capacity)
    if first_s is None or first_s > seconds_of(request.latest_start_time):
        return claim, short
    end_s = first_s + claim.end_s - claim.start_s
    return rules.Claim(claim.id, claim.amount, claim.selector, first_s, end_s, claim.priority), None


async def _found(
    book: list[arbiter_pb2.Reservation], reservation_id: str, context: Context
) -> arbiter_pb2.Reservation:
    found = next((each for each in book if each.id == reservation_id), None)
    if found is None:
        text = f"there is no reservation {reservation_id}, or it has ended"
        await _abort(context, grpc.StatusCode.NOT_FOUND, text)
    return found


async def _held(
    book: list[arbiter_pb2.Reservation], reservation_id: str, holder: str, context: Context
) -> arbiter_pb2.Reservation:
    found = await _found(book, reservation_id, context)
    await _check_holder(found, holder, context)
    if found.displaced_by:
        await _abort(
            context,
            grpc.StatusCode.FAILED_PRECONDITION,
            f"{reservation_id} was displaced by {found.displaced_by}: reserve again",
        )
    return found


async def _check_holder(found: arbiter_pb2.Reservation, holder: str, context: Context) -> None:
    if found.holder != holder:
        await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, f"{found.id} is held by {found.holder!r}")


async def _full(context: Context, resource: str, count: int) -> NoReturn:
    await _abort(
        context,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"{resource} has {count} reservations already (WEFT_ARBITER_MAX_RESERVATIONS)",
    )


async def _too_many_selectors(context: Context, resource: str) -> NoReturn:
    await _abort(
        context,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"reservations of {resource} at one time may have {rules.MAX_SELECTORS} different sets of labels: use one of those that are there",
    )


async def _abort(context: Context, code: grpc.StatusCode, message: str) -> NoReturn:
    await context.abort(code, message)
    raise AssertionError("abort raises")
