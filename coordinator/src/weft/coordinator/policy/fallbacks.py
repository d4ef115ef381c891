"""Checks fallback methods: the types must be the same, and no chain of fallbacks may lead back to its beginning. Pure."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.descriptor import MethodDescriptor

from weft.rpc.contracts.descriptors import method_kind, method_name

# Fallbacks of one method.
MAX_FALLBACKS = 8
# A method -> its descriptor and its fallback; None: it is not known (yet).
Find = Callable[[str], tuple[MethodDescriptor, str] | None]


def fallback_fault(method: MethodDescriptor, fallback: str, find: Find) -> str:
    """Why a method cannot have this fallback. Empty: it can, as far as it is known: another agent may host it later."""
    found = find(fallback)
    if found is None:
        return ""
    other, _ = found
    if method_kind(other) != method_kind(method):
        return f"{fallback} streams otherwise"
    for what, own, its in (
        ("request", method.input_type, other.input_type),
        ("response", method.output_type, other.output_type),
    ):
        if own.full_name != its.full_name:
            return f"{fallback} has another {what}: {its.full_name}, not {own.full_name}"
    return _circle([method_name(method), fallback], find)


def _circle(path: list[str], find: Find) -> str:
    while (found := find(path[-1])) is not None and found[1]:
        path.append(found[1])
        if path[-1] == path[0]:
            return f"fallbacks lead back to the method: {' -> '.join(path)}"
        if path[-1] in path[:-1]:
            # A circle of others: they are refused for it.
            break
    return ""
