"""Names that are similar to a wrong one, for messages that ask "did you mean …?". Pure.

The time of a comparison grows with the product of both lengths, and who gives the name may choose its length: a name of 900 kB once
kept a coordinator busy for seconds. So a name that is longer than any real one is similar to none.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_CHARS = 256


def similar_names(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names that are similar, the most similar first.

    Args:
        cutoff: how similar they must be, from 0 to 1.
    """
    return [] if len(name) > MAX_CHARS else difflib.get_close_matches(name, list(known), most, cutoff)
