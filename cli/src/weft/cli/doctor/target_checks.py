"""Checks of the coordinators' addresses: each is dialled, and asked for its health, and the round trip is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from grpc import aio

from weft.cli.doctor.diagnosis import Diagnosis, ok, problem, warning
from weft.rpc.network import targets
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.network.connection_faults import ConnectionFault, connected, probed
from weft.rpc.registries.resolved_targets import resolved

_ANSWER_S = 3.0
# Tasks and heartbeats wait for round trips.
_SLOW_S = 0.25
_CHECK = "/grpc.health.v1.Health/Check"
# A serialized grpc.health.v1.HealthCheckResponse: the command does without the package of its messages.
_SERVING = b"\x08\x01"


async def findings(target: str, route: Route) -> Sequence[Diagnosis]:
    """Ask each address of a target, all at once: one finding each."""
    given = targets.parse(target)
    addresses = await asyncio.to_thread(resolved, given)
    if not addresses:
        return [
            problem(
                f"source of addresses {target}",
                "it names no coordinator",
                "docs/deploy/discovery.md says how it is set up; the warning above says what is wrong",
            )
        ]
    return await asyncio.gather(*(_address(each, route.named_for(given)) for each in addresses))


async def _address(address: str, route: Route) -> Diagnosis:
    subject = f"coordinator {address}"
    async with dial(address, client_options(own_connection=True), route) as channel:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await connected(channel, address, route.security)
        except ConnectionFault as fault:
            return problem(subject, str(fault), "docs/how-to/tls.md says how TLS is set up")
        except TimeoutError:
            return problem(
                subject,
                f"no gRPC server answers in {_ANSWER_S:g} s",
                "is it running (weft coordinator)? is the address right, and the way to it free of firewalls?",
            )
        try:
            status, round_trip_s = await _health(channel)
        except aio.AioRpcError as error:
            return problem(
                subject,
                f"it answers the health check with {error.code().name}: {error.details()}",
                "is this a coordinator's port? an agent's direct port and other servers are not",
            )
        if weak := await probed(address, route.security):
            # gRPC has connected: it takes what others do not.
            return warning(subject, weak, "docs/how-to/tls.md says how certificates are made")
        return _told(subject, status, round_trip_s)


async def _health(channel: aio.Channel) -> tuple[bytes, float]:
    """The status, and the shorter of two round trips."""
    check: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
    trips: list[float] = []
    status = b""
    for _ in range(2):
        began_s = time.monotonic()
        status = await check(b"", timeout=_ANSWER_S)
        trips.append(time.monotonic() - began_s)
    return status, min(trips)


def _told(subject: str, status: bytes, round_trip_s: float) -> Diagnosis:
    if status != _SERVING:
        return problem(
            subject,
            "it is there, and does not serve",
            "see its log: it starts, stops, or cannot use its store",
        )
    if round_trip_s > _SLOW_S:
        return warning(
            subject,
            f"it serves; a round trip takes {round_trip_s * 1000:.0f} ms",
            "put callers and agents nearer to it",
        )
    return ok(subject, f"it serves; a round trip takes {round_trip_s * 1000:.1f} ms")
