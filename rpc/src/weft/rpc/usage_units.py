"""Units of usage: what is counted of each attempt, and how handlers may name units of their own. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from weft.rpc import refusals

# Of one attempt, and of one sum.
MAX_UNITS = 16
# What is counted of each attempt, by the names that budgets use.
BUILT_IN = ("attempts", "active_s", "slot_s", "request_bytes", "response_bytes", "direct_calls")
_UNIT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_unit(name: str) -> bool:
    """Whether a handler may name a unit so."""
    return name not in BUILT_IN and _UNIT.fullmatch(name) is not None


def check_budget(amounts: Mapping[str, float], option: str) -> None:
    """
    Raises:
        InvalidArgument: too many, a name that no unit can have, or an amount that is no number above zero.
    """
    if len(amounts) > MAX_UNITS:
        raise refusals.invalid_field(f"{option} has more than {MAX_UNITS} units", field=option)
    for unit, amount in amounts.items():
        if unit not in BUILT_IN and not is_unit(unit):
            raise refusals.invalid_field(
                f"{option} has {unit[:128]!r}: a unit is one of {', '.join(BUILT_IN)}, or one that handlers name: 1 to 64 letters,"
                " digits, '.', '_' and '-'",
                field=option,
            )
        # A NaN is refused too.
        if not 0 < amount < math.inf:
            raise refusals.invalid_field(
                f"{option} has the amount {amount:g} of {unit!r}: it must be a number above 0", field=option
            )
