"""Units of usage: what is counted of each attempt, and how handlers may name units of their own. Pure."""

from __future__ import annotations

import re

# Of one attempt, and of one sum.
MAX_UNITS = 16
# What is counted of each attempt, by the names that budgets use.
BUILT_IN = ("attempts", "active_s", "slot_s", "request_bytes", "response_bytes", "direct_calls")
_UNIT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_unit(name: str) -> bool:
    """Whether a handler may name a unit so."""
    return name not in BUILT_IN and _UNIT.fullmatch(name) is not None
