"""Refusals of pools."""

from __future__ import annotations

from weft.rpc.errors import AlreadyExists, FailedPrecondition, NotFound
from weft.v1 import errors_pb2 as pb


def pool_not_found(name: str) -> NotFound:
    """No pool has the name."""
    return NotFound(
        f"no pool has the name {name!r}; `weft pools list` shows those that there are",
        reason=pb.ERROR_REASON_POOL_NOT_FOUND,
        metadata={"pool": name},
    )


def pool_exists(name: str) -> AlreadyExists:
    """A pool of this name has another spec, or is being deleted."""
    return AlreadyExists(
        f"a pool {name!r} is there already, with another spec or about to be deleted: change it, delete it, or choose another name",
        reason=pb.ERROR_REASON_POOL_EXISTS,
        metadata={"pool": name},
    )


def pool_provider_unknown(provider: str, allowed: str, problem: str = "") -> FailedPrecondition:
    """The coordinator cannot use the provider; `allowed` are those that its setting names."""
    if problem:
        why = f"the provider {provider} of pools cannot be used: {problem}"
    else:
        names = f"only {allowed}" if allowed else "none"
        why = (
            f"this coordinator may not use the provider {provider[:64]!r} of pools; its setting pool_providers allows {names}."
            " Whoever may make pools runs programs by it: set WEFT_POOL_PROVIDERS to allow it"
        )
    return FailedPrecondition(
        why,
        reason=pb.ERROR_REASON_POOL_PROVIDER_UNKNOWN,
        metadata={"provider": provider[:64], "providers": allowed},
    )


def pool_deleting(name: str) -> FailedPrecondition:
    """The pool is being deleted."""
    return FailedPrecondition(
        f"pool {name!r} is being deleted",
        reason=pb.ERROR_REASON_POOL_DELETING,
        metadata={"pool": name},
    )


def pool_ended(name: str) -> FailedPrecondition:
    """The pool was ephemeral, and has ended."""
    return FailedPrecondition(
        f"pool {name!r} was ephemeral, and has ended: delete it, and launch agents again",
        reason=pb.ERROR_REASON_POOL_ENDED,
        metadata={"pool": name},
    )


def pool_cannot_freeze(name: str, provider: str) -> FailedPrecondition:
    """The provider of a pool cannot let its members stand still."""
    return FailedPrecondition(
        f"the members of pool {name!r} cannot stand still: the provider {provider} cannot freeze them. Pause it without freeze, or stop it",
        reason=pb.ERROR_REASON_POOL_CANNOT_FREEZE,
        metadata={"pool": name, "provider": provider},
    )
