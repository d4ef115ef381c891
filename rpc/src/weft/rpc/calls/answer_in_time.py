"""When a call whose deadline is near is answered: a little before it passes, so that the answer arrives and says why. Pure."""

from __future__ import annotations

from weft.rpc import refusals
from weft.rpc.errors import DeadlineExceeded

# Of the caller's time, what the answer gets. An outcome that comes within it is lost to the caller.
MARGIN_S = 0.02
MARGIN_SHARE = 0.05


def usable_s(left_s: float) -> float:
    """Seconds until the answer must go out, of those that are left."""
    return left_s - min(MARGIN_S, left_s * MARGIN_SHARE)


def late(waited_s: float, what: str) -> DeadlineExceeded:
    """What to answer a direct call that waited for something until its deadline."""
    return refusals.call_deadline(f"the call's deadline passed: waited {waited_s:.1f} s for {what}")
