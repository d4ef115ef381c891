"""The load that agents report, and how much it counts. Pure.

An agent's report counts every used slot, including those of this client's own calls. These are subtracted, because the client
counts them itself, and more exactly. The rest is the work of others. It counts less as the report grows old: an agent that
looks full gets no calls from this client, and so sends it no newer report.
"""

from __future__ import annotations

import functools

from google.protobuf.message import DecodeError

from weft.v1 import agent_pb2

# A report counts less with time, and not at all after this.
FADES_S = 5.0
# For so long a trailer's report is preferred to a snapshot's, which takes longer to arrive.
TRAILER_HOLDS_S = 1.0


def others(used_slots: float, own: float) -> float:
    """Slots used by others, when `used_slots` are used in all and this client's own calls use `own`."""
    return max(0.0, used_slots - own)


def faded(reported: float, age_s: float) -> float:
    """The load that still counts of a report of this age."""
    return reported * max(0.0, 1.0 - age_s / FADES_S)


# Cached: most reports repeat one of a few.
@functools.lru_cache(maxsize=1024)
def used_slots(report: bytes) -> float | None:
    """The used slots in a trailer's report, with the program's backlog. None: it has no such figure, or cannot be parsed."""
    try:
        metrics = agent_pb2.OrcaLoadReport.FromString(report).named_metrics
    except DecodeError:
        return None
    # `get`, because `[]` on a protobuf map would add the key.
    used = metrics.get("used_slots")
    return None if used is None else used + max(0.0, metrics.get("backlog_slots", 0.0))
