"""What happens to a policy file, for those who want to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class PolicyNews(NamedTuple):
    """Another policy is in force, or a state of the file cannot be used."""

    file: str
    # SHA-256 of the file that is in force, in hexadecimal digits.
    digest: str
    rules: int
    # Why the file, as it is now, is not in force; empty: it is.
    fault: str = ""


ToldOfPolicy = Callable[[PolicyNews], None]
