"""What weft's objects in this process hold: how many there are of each class, and how much is in their containers. For tests that nothing grows.

    before = holdings()
    ...
    assert not grown(before, holdings())

Found by the garbage collector, not by a list of places: a table that somebody adds tomorrow is looked at, too.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

_CONTAINERS = (dict, list, set, frozenset, deque, tuple, bytearray)
_OWN = "weft."
_ABSENT = object()
# Containers within containers: a dict of dicts of lists.
_DEPTH = 3


def holdings() -> Counter[str]:
    """By class ("Board"), by attribute ("Board.tasks", all objects of the class together), and by global or cached function ("weft.x.board.TABLE").

    Bounded caches of functions are empty afterwards.
    """
    # What was there when the tests were collected is hidden otherwise.
    gc.unfreeze()
    found: Counter[str] = Counter()
    for cache in gc.get_objects():
        if isinstance(cache, functools._lru_cache_wrapper) and cache.__module__.startswith(_OWN):
            # What a bounded one holds is no growth.
            if cache.cache_info().maxsize is not None:
                cache.cache_clear()
            found[f"{cache.__module__}.{cache.__qualname__}"] = cache.cache_info().currsize
    gc.collect()
    for each in gc.get_objects():
        kind = type(each)
        # An object that stands for another one may raise whatever it likes.
        if str(getattr(kind, "__module__", "")).startswith(_OWN) and isinstance(kind, type):
            found[kind.__qualname__] += 1
            for name, value in _attributes(each):
                _count(found, f"{kind.__qualname__}.{name}", value)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(_OWN):
            for name, value in list(vars(module).items()):
                if not name.startswith("__"):
                    _count(found, f"{module_name}.{name}", value)
    return found


def grown(
    before: Mapping[str, int], after: Mapping[str, int], allowed: int = 0
) -> dict[str, tuple[int, int]]:
    """What holds more than before: before and after.

    Args:
        allowed: so many objects of a class, or items in containers, may be more. That many objects have more containers, too.
    """
    found: dict[str, tuple[int, int]] = {}
    for name, count in sorted(after.items()):
        was, objects = before.get(name, 0), before.get(name.partition(".")[0], 0)
        size = max(1.0, was / objects) if objects else 1.0
        if count > was + allowed * size:
            found[name] = was, count
    return found


def _attributes(of: Any) -> Iterator[tuple[str, Any]]:
    kind = type(of)
    yield from list(getattr(of, "__dict__", {}).items())
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            where = name if not name.startswith("__") else f"_{base.__name__.lstrip('_')}{name}"
            if (value := getattr(of, where, _ABSENT)) is not _ABSENT:
                yield name, value


def _count(found: Counter[str], name: str, value: Any, depth: int = 0) -> None:
    if not isinstance(value, _CONTAINERS):
        return
    found[name] += len(value)
    if depth < _DEPTH and not isinstance(value, bytearray):
        for each in list(value.values()) if isinstance(value, dict) else list(value):
            _count(found, f"{name}[]", each, depth + 1)
