"""What a sandbox answers, as bytes, read as values. Whoever is in the sandbox may have written it: all of it may be wrong."""

from __future__ import annotations

import math

import grpc

from weft.rpc import bounded_json
from weft.services.sandboxes.sandbox_provider import BoxError, FileFacts

_KINDS = frozenset({"file", "folder", "link", "other"})
_MOST = 1 << 62


def read_message(data: bytes) -> dict[str, int] | None:
    """A message of a process 1: a number, and how it ended; None: it is none."""
    try:
        found = bounded_json.loads(data)
    except ValueError:
        return None
    if not isinstance(found, dict) or type(found.get("id")) is not int:
        return None
    kept = {name: found[name] for name in ("id", "exit", "error") if type(found.get(name)) is int}
    return kept if ("exit" in kept) ^ ("error" in kept) else None


def read_sized(data: bytes) -> tuple[bytes, int]:
    """Bytes of a file, and the size of all of it.

    Raises:
        BoxError: it is none of this.
    """
    head, _, rest = data.partition(b"\n")
    return rest, _size(_object(head).get("size"))


def read_folder(data: bytes, most: int) -> tuple[list[FileFacts], bool]:
    """Files of a folder, and whether there are more.

    Raises:
        BoxError: it is none of this.
    """
    head = _object(data.partition(b"\n")[0])
    files = head.get("files")
    if not isinstance(files, list):
        raise wrong_answer()
    return [_facts(each) for each in files[:most]], head.get("more") is True


def wrong_answer() -> BoxError:
    """The sandbox says what it should not."""
    return BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox answers what it should not")


def _facts(told: object) -> FileFacts:
    if not isinstance(told, list) or len(told) != 4:
        raise wrong_answer()
    name, size, kind, changed_at_s = told
    if not isinstance(name, str) or kind not in _KINDS or not isinstance(changed_at_s, int | float):
        raise wrong_answer()
    if not math.isfinite(changed_at_s) or not 0 <= changed_at_s < 1e11:
        changed_at_s = 0.0
    return FileFacts(name.encode(errors="replace").decode(), _size(size), kind, float(changed_at_s))


def _object(data: bytes) -> dict[str, object]:
    try:
        found = bounded_json.loads(data)
    except ValueError:
        raise wrong_answer() from None
    if not isinstance(found, dict):
        raise wrong_answer()
    return found


def _size(told: object) -> int:
    if type(told) is not int or not 0 <= told < _MOST:
        raise wrong_answer()
    return told
