"""Load that agents report, and how far to believe it. Pure.

An agent's word counts every slot that is taken, the asking client's own calls included: those are taken out, for the client
counts them itself, and better. What is left, other people's work, is as old as the word: it fades, since an agent that
looks full is not called, and what is not called says nothing new.
"""

from __future__ import annotations

import functools

from google.protobuf.message import DecodeError

from weft.v1 import agent_pb2

# A report counts less and less, and not at all after this.
FADES_S = 5.0
# How long a trailer's word stands against the coordinator's, which is older on its way.
TRAILER_HOLDS_S = 1.0


def others(used_slots: float, own: float) -> float:
    """Slots taken by others, when `used_slots` are taken in all and our own calls take `own`."""
    return max(0.0, used_slots - own)


def faded(reported: float, age_s: float) -> float:
    """What a report of this age still counts."""
    return reported * max(0.0, 1.0 - age_s / FADES_S)


# The same few reports come again and again, until the agent's host has other figures.
@functools.lru_cache(maxsize=1024)
def used_slots(report: bytes) -> float | None:
    """The slots in use by a trailer's report; None when it does not say, or is none."""
    try:
        metrics = agent_pb2.OrcaLoadReport.FromString(report).named_metrics
    except DecodeError:
        return None
    # A map's own `get` creates nothing.
    return metrics.get("used_slots")
