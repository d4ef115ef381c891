"""Names of methods: which are weft's own, and the messages for names that do not exist.

In weft a full method name is written "pkg.Service/Method". Callers often write other forms: with a leading slash, or with a dot
before the method.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable

from weft.rpc.similar_names import MAX_CHARS, similar_names

# The packages that weft's servers serve themselves. Agents cannot host their services: no call could reach them.
RESERVED_PACKAGES = frozenset({"weft.v1", "grpc.health.v1", "grpc.reflection.v1", "grpc.reflection.v1alpha"})

# The most names that a message lists.
LISTED = 10
# Names that are compared in full: 0.1 ms each. A caller's wrong name must not hold the event loop up where there are thousands.
_COMPARED = 32


def is_reserved(service: str) -> bool:
    """Whether weft's servers serve the service (a full name) themselves."""
    return service.rpartition(".")[0] in RESERVED_PACKAGES


def short(name: str) -> str:
    """A method's name without its package, for tables: "ProbeService/Call"."""
    return name.rpartition(".")[2]


def meant(name: str, known: Collection[str]) -> list[str]:
    """The known methods that `name` stands for: it is a full name in any form, or the end of one after a dot or slash.

    "Media/Publish" stands for acme.v1.Media/Publish, and so does "Publish" if no other method has this end.
    """
    plain = _dotted(name)
    same = [method for method in known if _dotted(method) == plain]
    return same or sorted(method for method in known if plain and _dotted(method).endswith(f".{plain}"))


def nearest(name: str, known: Collection[str]) -> list[str]:
    """At most three known methods that are similar to `name`, the most similar first."""
    if len(name) > MAX_CHARS:
        return []
    plain = _plain(name)
    by_plain: dict[str, str] = {_plain(method): method for method in sorted(known, reverse=True)}
    if plain in by_plain:
        return [by_plain[plain]]
    likely = heapq.nlargest(_COMPARED, by_plain, key=lambda key: _shared(plain, key))
    found = [by_plain[key] for key in similar_names(plain, likely, most=3, cutoff=0.75)]
    # "Summarize" alone, or with a wrong package.
    simple = plain.rpartition(".")[2]
    ends = [method for key, method in sorted(by_plain.items()) if key.rpartition(".")[2] == simple]
    return list(dict.fromkeys([*found, *ends]))[:3]


def _shared(one: str, other: str) -> int:
    """Characters that two names share at their beginnings and ends."""
    return _same(one, other) + _same(reversed(one), reversed(other))


def _same(one: Iterable[str], other: Iterable[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def unknown_method(name: str, known: Collection[str]) -> str:
    """The message for a method that does not exist: it names similar methods, or those that exist."""
    message = f"there is no method {name[:MAX_CHARS]!r}"
    if close := nearest(name, known):
        return f"{message}; did you mean {' or '.join(close)}?"
    if not known:
        return f"{message}: nothing is hosted yet"
    names = sorted(known)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{message}; there are {', '.join(names[:LISTED])}{more}"


def ambiguous_method(name: str, found: Collection[str]) -> str:
    """The message for a name that stands for several methods: it names them."""
    return f"{name!r} is the end of {len(found)} methods: {', '.join(sorted(found)[:LISTED])}"


def _dotted(name: str) -> str:
    return name.strip().removeprefix("/").replace("/", ".")


def _plain(name: str) -> str:
    return _dotted(name).lower()
