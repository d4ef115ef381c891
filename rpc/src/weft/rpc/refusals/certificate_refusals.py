"""Refusals about certificates that a mesh makes by itself."""

from __future__ import annotations

from weft.rpc.errors import FailedPrecondition, Unauthenticated, Unavailable
from weft.v1 import errors_pb2 as pb


def not_joined(message: str) -> Unavailable:
    """The mesh cannot be joined now."""
    return Unavailable(message, reason=pb.ERROR_REASON_NOT_JOINED)


def pin_mismatch(address: str) -> FailedPrecondition:
    """A join port has another authority than the pin says."""
    return FailedPrecondition(
        f"the authority at {address} is not the one of the pin (WEFT_TLS_PIN): either the pin is of another mesh, or of this one before"
        " its store was made anew (`weft certs pin` prints the present one), or somebody stands in between",
        reason=pb.ERROR_REASON_PIN_MISMATCH,
    )


def certificate_unknown(subject: str) -> Unauthenticated:
    """A certificate stands for no token, and the call shows none."""
    return Unauthenticated(
        f"the certificate of {subject[:256]!r} stands for no token of this mesh, and the call shows no token: an operator can make one"
        " for it with `weft tokens create --subject`",
        reason=pb.ERROR_REASON_CERTIFICATE_UNKNOWN,
    )


def no_authority() -> FailedPrecondition:
    """The coordinator makes no certificates."""
    return FailedPrecondition(
        "this coordinator makes no certificates: start it with --ca auto",
        reason=pb.ERROR_REASON_NO_AUTHORITY,
    )
