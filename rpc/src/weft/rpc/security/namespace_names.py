"""Namespaces by name: how a call says its own, and which names there can be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from weft.rpc import refusals

# The metadata by which a call says its namespace.
NAMESPACE_KEY = "weft-namespace"
# The namespace that is always there.
DEFAULT = "default"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
FORM = "1 to 63 small letters, digits and '-', a letter or digit at both ends"


def is_name(text: str) -> bool:
    """Whether a namespace can have this name."""
    return _NAME.fullmatch(text) is not None


def checked_name(text: str, field: str = "namespace") -> str:
    """A name, if a namespace can have it.

    Raises:
        InvalidArgument
    """
    if not is_name(text):
        raise refusals.invalid_field(f"{field} is {text[:128]!r}; it must be {FORM}", field=field)
    return text


def chosen_namespace(given: str | None = None) -> str:
    """A program's namespace; empty: it names none.

    Args:
        given: None: by the environment (WEFT_NAMESPACE).

    Raises:
        InvalidArgument: no namespace can have this name.
    """
    name = os.environ.get("WEFT_NAMESPACE", "") if given is None else given
    return name and checked_name(name)


def named_in(pairs: Iterable[tuple[str, str | bytes]]) -> str:
    """The namespace that a call says by its metadata; empty: it says none."""
    for key, value in pairs:
        if key == NAMESPACE_KEY:
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""
