"""Names of methods: which are weft's own, and what to tell somebody who named one that does not exist.

Full method names are written "pkg.Service/Method" everywhere in weft. Callers know other forms (a leading slash, a
dot before the method), and get them wrong in these ways most of all.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

# What weft's servers serve themselves. Agents cannot host it: it could never be reached.
RESERVED_PACKAGES = frozenset({"weft.v1", "grpc.health.v1", "grpc.reflection.v1", "grpc.reflection.v1alpha"})

# Names that a message lists at most.
LISTED = 10


def is_reserved(service: str) -> bool:
    """Whether a service, by its full name, is one that weft's servers serve themselves."""
    return service.rpartition(".")[0] in RESERVED_PACKAGES


def short(name: str) -> str:
    """A method's name without its package, as tables show it: "ProbeService/Call"."""
    return name.rpartition(".")[2]


def meant(name: str, known: Collection[str]) -> list[str]:
    """Known methods that are named by `name`: its full name in any spelling, or the end of it, from a dot or slash on.

    "Media/Publish" names acme.v1.Media/Publish, and so does "Publish" where no other method ends so.
    """
    plain = _dotted(name)
    same = [method for method in known if _dotted(method) == plain]
    return same or sorted(method for method in known if plain and _dotted(method).endswith(f".{plain}"))


def nearest(name: str, known: Collection[str]) -> list[str]:
    """Known methods that may have been meant by `name`, the likeliest first; at most three."""
    plain = _plain(name)
    by_plain: dict[str, str] = {_plain(method): method for method in sorted(known, reverse=True)}
    if plain in by_plain:
        return [by_plain[plain]]
    found = [by_plain[key] for key in difflib.get_close_matches(plain, by_plain, n=3, cutoff=0.75)]
    # "Summarize" alone, or with a wrong package.
    simple = plain.rpartition(".")[2]
    ends = [method for key, method in sorted(by_plain.items()) if key.rpartition(".")[2] == simple]
    return list(dict.fromkeys([*found, *ends]))[:3]


def unknown_method(name: str, known: Collection[str]) -> str:
    """A message that says so, and what there is instead."""
    message = f"there is no method {name!r}"
    if close := nearest(name, known):
        return f"{message}; did you mean {' or '.join(close)}?"
    if not known:
        return f"{message}: nothing is hosted yet"
    names = sorted(known)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{message}; there are {', '.join(names[:LISTED])}{more}"


def ambiguous_method(name: str, found: Collection[str]) -> str:
    """A message that says which methods `name` stands for."""
    return f"{name!r} is the end of {len(found)} methods: {', '.join(sorted(found)[:LISTED])}"


def _dotted(name: str) -> str:
    return name.strip().removeprefix("/").replace("/", ".")


def _plain(name: str) -> str:
    return _dotted(name).lower()
