"""Two layers of options for one method become one: each option of the upper one comes first, and limits only tighten. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from weft.rpc.contracts.policy_options import layered
from weft.rpc.task_policy.policy_checks import TIME_LIMITS
from weft.rpc.times import seconds
from weft.v1 import options_pb2


def resolve(
    under: options_pb2.TaskPolicy | None, over: options_pb2.TaskPolicy | None
) -> options_pb2.TaskPolicy | None:
    """The options in force: those of `over` before those of `under`, field by field; of limits the strictest. None: no options.

    Limits are the time limits, each by itself, and the run limits of each key, each number by itself. What happens at a run
    limit is the choice of `over`.
    """
    if under is None or over is None:
        return over if under is None else under
    result = layered(under, over)
    for name in TIME_LIMITS:
        set_by = [p.limits for p in (under, over) if p.limits.HasField(name)]
        if set_by:
            least = min(set_by, key=lambda limits: seconds(getattr(limits, name)))
            getattr(result.limits, name).CopyFrom(getattr(least, name))
    del result.run_limits[:]
    result.run_limits.extend(tightened(under.run_limits, over.run_limits))
    return result


def tightened(
    under: Sequence[options_pb2.RunLimit], over: Sequence[options_pb2.RunLimit]
) -> list[options_pb2.RunLimit]:
    """The run limits of two layers: of each key the lower numbers, and the upper layer's action at the limit."""
    by_key = {limit.key: limit for limit in under}
    for limit in over:
        lower = by_key.get(limit.key)
        by_key[limit.key] = limit if lower is None else _tighter(lower, limit)
    return list(by_key.values())


def _tighter(under: options_pb2.RunLimit, over: options_pb2.RunLimit) -> options_pb2.RunLimit:
    rates = [limit for limit in (over, under) if limit.max_rate_per_s]
    slowest = min(rates, key=lambda limit: limit.max_rate_per_s, default=over)
    # A burst of 0 is one second's worth.
    bursts = [limit.burst or max(1, math.floor(limit.max_rate_per_s)) for limit in rates]
    return options_pb2.RunLimit(
        key=over.key,
        max_running=_least(under.max_running, over.max_running),
        max_rate_per_s=slowest.max_rate_per_s,
        burst=slowest.burst if len(rates) < 2 or not any(limit.burst for limit in rates) else min(bursts),
        at_limit=over.at_limit or under.at_limit,
    )


def _least(one: int, other: int) -> int:
    """The lower limit; 0 is none."""
    return min(one, other) if one and other else one or other
