"""A book between its message and its rules: reservations read, made and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from weft.rpc.times import duration, timestamp
from weft.services.arbiter.book_rules import Claim
from weft.services.arbiter.v1 import arbiter_pb2
from weft.v1 import task_pb2

DEFAULT_PRIORITY = 5


def seconds_of(time: Timestamp) -> float:
    """A time in seconds since the epoch."""
    return time.seconds + time.nanos / 1e9


def present(book: arbiter_pb2.Book, now_s: float) -> list[arbiter_pb2.Reservation]:
    """The reservations that have not ended."""
    return [each for each in book.reservations if seconds_of(each.end_time) > now_s]


def claim_of(reservation: arbiter_pb2.Reservation) -> Claim:
    """What a reservation claims."""
    return Claim(
        reservation.id,
        reservation.amount,
        frozenset(reservation.labels.items()),
        seconds_of(reservation.start_time),
        seconds_of(reservation.end_time),
        reservation.priority,
    )


def claims_of(reservations: Sequence[arbiter_pb2.Reservation], *, without: str = "") -> list[Claim]:
    """What reservations claim. Displaced ones claim nothing."""
    return [claim_of(each) for each in reservations if not each.displaced_by and each.id != without]


def digest(request: Message) -> bytes:
    """A digest of a request, the same for equal ones."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()[:16]


def reservation_of(
    request: arbiter_pb2.ReserveRequest, reservation_id: str, claim: Claim, now_s: float
) -> arbiter_pb2.Reservation:
    """The reservation that a request makes."""
    return arbiter_pb2.Reservation(
        id=reservation_id,
        resource=request.resource,
        holder=request.holder,
        amount=request.amount,
        labels=request.labels,
        start_time=timestamp(claim.start_s),
        end_time=timestamp(claim.end_s),
        priority=claim.priority,
        create_time=timestamp(now_s),
        request_digest=digest(request),
    )


def task_options_of(
    reservation: arbiter_pb2.Reservation, now_s: float, *, of_agents: bool
) -> task_pb2.TaskOptions:
    """The options of tasks that use a reservation: they wait for its start, must end with it, and consume its amount.

    Args:
        of_agents: agents have the resource, so that their tasks can consume it.
    """
    options = task_pb2.TaskOptions()
    delay_s = seconds_of(reservation.start_time) - now_s
    if delay_s > 0:
        options.delay.CopyFrom(duration(delay_s))
    options.limits.schedule_to_close.CopyFrom(duration(seconds_of(reservation.end_time) - now_s))
    if of_agents:
        options.requirements.labels.update(reservation.labels)
        options.consumes[reservation.resource] = reservation.amount
    return options
