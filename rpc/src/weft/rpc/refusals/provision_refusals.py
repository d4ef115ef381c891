"""Refusals of provisioning."""

from __future__ import annotations

from weft.rpc.errors import FailedPrecondition, NotFound
from weft.v1 import errors_pb2 as pb


def provision_kind_not_found(kind: str, kinds: str) -> NotFound:
    """There is no kind of this name; `kinds` are those that there are."""
    return NotFound(
        f"there is no kind of agent {kind[:128]!r}; there are {kinds}; packages with entry points of the group weft.providers add"
        " more",
        reason=pb.ERROR_REASON_PROVISION_KIND_NOT_FOUND,
        metadata={"kind": kind[:128], "kinds": kinds},
    )


def provision_kind_failed(kind: str, package: str, why: str) -> FailedPrecondition:
    """The kind of an installed package does not work."""
    return FailedPrecondition(
        f"the kind {kind} of the package {package} has failed: {why}; no token was made",
        reason=pb.ERROR_REASON_PROVISION_KIND_FAILED,
        metadata={"kind": kind, "package": package},
    )
