"""Refusals of webhooks."""

from __future__ import annotations

from weft.rpc.errors import AlreadyExists, FailedPrecondition, NotFound, Unauthenticated, Unavailable
from weft.v1 import errors_pb2 as pb


def hook_not_found(name: str) -> NotFound:
    """No hook has the name."""
    return NotFound(
        f"no hook has the name {name!r}; `weft hooks list` shows those that there are",
        reason=pb.ERROR_REASON_HOOK_NOT_FOUND,
        metadata={"hook": name},
    )


def hook_without_secret(name: str) -> FailedPrecondition:
    """An imported hook is to be resumed before it has a secret."""
    return FailedPrecondition(
        f"the hook {name!r} was imported without its secret: give it one first (weft hooks rotate)",
        reason=pb.ERROR_REASON_HOOK_WITHOUT_SECRET,
        metadata={"hook": name},
    )


def hook_exists(name: str) -> AlreadyExists:
    """A hook of this name is there already."""
    return AlreadyExists(
        f"a hook {name!r} is there already: change it (`weft hooks add --replace`), remove it, or choose another name",
        reason=pb.ERROR_REASON_HOOK_EXISTS,
        metadata={"hook": name},
    )


def hook_signature_invalid() -> Unauthenticated:
    """A request for a hook is not signed, or not by its secret."""
    return Unauthenticated(
        "the request is not signed by the hook's secret: compare the secret and the kind of the hook with those of the sender",
        reason=pb.ERROR_REASON_HOOK_SIGNATURE_INVALID,
    )


def hook_request_stale(late_s: float, tolerance_s: float) -> Unauthenticated:
    """The signed time of a request is too far from now."""
    when = f"{late_s:.0f} s ago" if late_s >= 0 else f"{-late_s:.0f} s in the future"
    return Unauthenticated(
        f"the request was signed {when}; the hook takes those within {tolerance_s:g} s: if it is no replay, compare the clocks",
        reason=pb.ERROR_REASON_HOOK_REQUEST_STALE,
    )


def hook_unavailable(name: str, why: str, retry_after_s: float | None = None) -> Unavailable:
    """A hook does nothing at the moment."""
    return Unavailable(
        f"the hook {name!r} {why}",
        reason=pb.ERROR_REASON_HOOK_UNAVAILABLE,
        retry_after_s=retry_after_s,
        metadata={"hook": name},
    )


def hook_address_refused(host: str, why: str) -> FailedPrecondition:
    """An outgoing hook may not send there."""
    return FailedPrecondition(
        f"hooks may not send to {host!r}: {why}",
        reason=pb.ERROR_REASON_HOOK_ADDRESS_REFUSED,
        metadata={"host": host},
    )
