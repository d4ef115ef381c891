"""Refusals that concern namespaces."""

from __future__ import annotations

from weft.rpc.errors import AlreadyExists, FailedPrecondition, NotFound
from weft.v1 import errors_pb2 as pb

_KEY = "namespace"


def namespace_not_found(name: str) -> NotFound:
    """No namespace has the name."""
    shown = name[:128]
    return NotFound(
        f"there is no namespace {shown!r}: `weft namespaces list` shows those that there are, and an operator makes one with"
        " `weft namespaces create`",
        reason=pb.ERROR_REASON_NAMESPACE_NOT_FOUND,
        metadata={_KEY: shown},
    )


def namespace_exists(name: str) -> AlreadyExists:
    """A namespace has the name already."""
    return AlreadyExists(
        f"there is a namespace {name!r} already: use it, or choose another name",
        reason=pb.ERROR_REASON_NAMESPACE_EXISTS,
        metadata={_KEY: name},
    )


def namespace_in_use(name: str, agents: int, tasks: int) -> FailedPrecondition:
    """A namespace that is to be deleted has agents or unfinished tasks."""
    return FailedPrecondition(
        f"namespace {name!r} is in use: {agents} connected agents, {tasks} unfinished tasks. Stop and cancel them, or delete it with"
        " `force` (--force), which cuts them off",
        reason=pb.ERROR_REASON_NAMESPACE_IN_USE,
        metadata={_KEY: name, "agents": str(agents), "tasks": str(tasks)},
    )


def namespace_deleting(name: str) -> FailedPrecondition:
    """A namespace of the name is being deleted."""
    return FailedPrecondition(
        f"namespace {name!r} is being deleted: try again in some seconds, or choose another name",
        reason=pb.ERROR_REASON_NAMESPACE_DELETING,
        metadata={_KEY: name},
    )
