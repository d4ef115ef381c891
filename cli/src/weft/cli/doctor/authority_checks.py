"""Checks of the authority of a mesh that makes its certificates: whether it ends soon, and how far its change is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from grpc import aio

from weft.cli.doctor.diagnosis import Diagnosis, ok, warning
from weft.client import Mesh
from weft.v1 import certificate_pb2
from weft.v1.certificate_pb2_grpc import CertificateServiceStub

_SUBJECT = "authority"
_ANSWER_S = 10.0
# A change takes two days by default, and whoever starts processes has to get the next pin.
_SOON = timedelta(days=90)


async def asked(mesh: Mesh) -> certificate_pb2.GetAuthorityResponse | None:
    """What a coordinator says of it. None: it has none, or this caller may not know."""
    stub = CertificateServiceStub(mesh.channel())
    try:
        answer: certificate_pb2.GetAuthorityResponse = await stub.GetAuthority(
            certificate_pb2.GetAuthorityRequest(), timeout=_ANSWER_S
        )
    except aio.AioRpcError:
        return None
    return answer


def findings(said: certificate_pb2.GetAuthorityResponse | None, now: datetime) -> Iterator[Diagnosis]:
    """Whether it ends soon, and how far its change is."""
    if said is None or not said.pin:
        return
    left = said.expire_time.ToDatetime(UTC) - now
    if said.HasField("change"):
        change = said.change
        signs, ends = change.sign_time.ToDatetime(UTC), change.end_time.ToDatetime(UTC)
        good = f"since {signs:%Y-%m-%d %H:%M} UTC" if signs <= now else f"from {signs:%Y-%m-%d %H:%M} UTC on"
        yield ok(
            _SUBJECT,
            f"it is being changed: pin {change.next_pin} is good {good}, the other one until {ends:%Y-%m-%d %H:%M} UTC",
        )
    elif left < _SOON:
        yield warning(
            _SUBJECT,
            f"it ends in {left / timedelta(days=1):.0f} days, and all certificates with it",
            "weft certs rotate, and give the next pin to whatever is started from then on",
        )
