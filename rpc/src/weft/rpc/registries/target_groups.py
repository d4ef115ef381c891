"""Groups of targets in a file, in the form in which Prometheus reads them (file_sd):

    [{"targets": ["10.0.0.1:7700"], "labels": {"service": "weft", "weft_id": "c1", "ends_at_s": "1790000000"}}]

A group without `service` is for all services. One with `ends_at_s` was written by a process, and counts up to that time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.rpc import bounded_json
from weft.rpc.errors import InvalidArgument
from weft.rpc.network import targets
from weft.rpc.registries.address_source import RegistryError

MAX_BYTES = 1024 * 1024
MAX_GROUPS = 10_000
SERVICE, ID, ENDS = "service", "weft_id", "ends_at_s"

Group = dict[str, Any]


def read(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        RegistryError: it is too large, or no file.
        OSError: it cannot be read.
    """
    # Not a pipe, which would hold the reader.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not path.is_file():
            raise RegistryError(f"{path} is no file")
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise RegistryError(f"{path} has more than {MAX_BYTES} bytes")
    return text


def is_json(text: bytes) -> bool:
    """Whether it is JSON, and no list of lines. A line may begin with the bracket of an IPv6 address."""
    start = text.lstrip()
    return start.startswith(b"{") or (start.startswith(b"[") and start[1:].lstrip()[:1] in {b"{", b"]", b'"'})


def can_end(text: bytes) -> bool:
    """Whether a group may end by itself."""
    return ENDS.encode() in text


def parse(text: bytes) -> list[Group]:
    """The groups.

    Raises:
        RegistryError: it is something else.
    """
    try:
        found = bounded_json.loads(text)
    except ValueError as error:
        raise RegistryError(f"it is no JSON: {error}") from None
    if not isinstance(found, list) or not all(map(_is_group, found)):
        raise RegistryError('it is no list of {"targets": ["HOST:PORT"], "labels": {…}}')
    if len(found) > MAX_GROUPS:
        raise RegistryError(f"it has {len(found)} groups; at most {MAX_GROUPS} can be")
    return found


def addresses(groups: Sequence[Group], service: str, now_s: float) -> list[str]:
    """The addresses of a service.

    Args:
        now_s: seconds since 1970.

    Raises:
        RegistryError: one is no address.
    """
    fitting = [
        group
        for group in groups
        if labels_of(group).get(SERVICE, service) == service and not has_ended(group, now_s)
    ]
    return [one_address(each) for group in fitting for each in group["targets"]]


def labels_of(group: Group) -> Mapping[str, Any]:
    found: Mapping[str, Any] = group.get("labels") or {}
    return found


def has_ended(group: Group, now_s: float) -> bool:
    """Whether the process that wrote it is gone."""
    try:
        return float(labels_of(group)[ENDS]) <= now_s
    except (KeyError, TypeError, ValueError):
        return False


def _is_group(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("targets"), list)
        and all(isinstance(each, str) for each in value["targets"])
        and isinstance(value.get("labels") or {}, dict)
    )


def one_address(text: str) -> str:
    """The address that a text is.

    Raises:
        RegistryError: it is none, or several.
    """
    try:
        found, *others = targets.parse(text)
    except InvalidArgument as error:
        raise RegistryError(error.message) from None
    if others or targets.is_source(found) or found.startswith("unix"):
        raise RegistryError(f"{text[:80]!r} is not one HOST:PORT")
    return found
