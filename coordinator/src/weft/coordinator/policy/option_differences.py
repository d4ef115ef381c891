"""Differences between the task policies of two contracts, for people. Pure."""

from __future__ import annotations

from google.protobuf import text_format

from weft.coordinator.policy.method_policy import MethodPolicy
from weft.v1 import options_pb2

# Characters of a value that a message shows.
_SHOWN = 160


def differing_option(one: MethodPolicy | None, other: MethodPolicy | None) -> str:
    """The name of the first option in which two policies of a method differ. Empty: they are the same."""
    mine, theirs = _options(one), _options(other)
    if mine == theirs:
        return ""
    for field in options_pb2.TaskPolicy.DESCRIPTOR.fields:
        if _only(mine, field.name) != _only(theirs, field.name):
            return field.name
    # Options of a newer weft.
    return "(unknown)"


def shown(policy: MethodPolicy | None, option: str) -> str:
    """An option's value; "not set" if it is not."""
    value = _only(_options(policy), option)
    text = text_format.MessageToString(value, as_one_line=True)
    return "not set" if not text else text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _options(policy: MethodPolicy | None) -> options_pb2.TaskPolicy:
    return options_pb2.TaskPolicy() if policy is None else policy.options


def _only(policy: options_pb2.TaskPolicy, option: str) -> options_pb2.TaskPolicy:
    """The policy with this option alone."""
    result = options_pb2.TaskPolicy()
    result.CopyFrom(policy)
    for field in options_pb2.TaskPolicy.DESCRIPTOR.fields:
        if field.name != option:
            result.ClearField(field.name)
    result.DiscardUnknownFields()
    return result
