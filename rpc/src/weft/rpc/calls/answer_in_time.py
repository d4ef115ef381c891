"""The time to answer a call whose deadline is near: a little before the deadline, so that the answer arrives in time.
Pure."""

from __future__ import annotations

from weft.rpc import refusals
from weft.rpc.errors import DeadlineExceeded

# The part of the caller's time that is kept for the answer. The caller does not get an outcome that comes within it.
MARGIN_S = 0.02
MARGIN_SHARE = 0.05


def usable_s(left_s: float) -> float:
    """Seconds until the answer must be sent, when the deadline is in `left_s` seconds."""
    return left_s - min(MARGIN_S, left_s * MARGIN_SHARE)


def late(waited_s: float, what: str) -> DeadlineExceeded:
    """The error of a direct call that waited for `what` until its deadline."""
    return refusals.call_deadline(f"the call's deadline passed: waited {waited_s:.1f} s for {what}")
