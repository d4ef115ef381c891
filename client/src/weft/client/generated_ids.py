"""Request ids that the library makes itself, so that it can repeat a submission whose answer was lost.

A coordinator keeps them for minutes, not for a day: within those the repeats of a submission end. After that a repeat could
be stored as a second task, so it is not made, also by a machine that was asleep meanwhile.
"""

from __future__ import annotations

import sys
import time

from weft.rpc import refusals
from weft.rpc.errors import DeadlineExceeded
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2

# A submission is repeated for so long after it was first sent, and its id kept for so much longer: for what is still on its
# way, and for clocks that differ.
REPEATED_S = 300.0
_BEYOND_S = 300.0
_MOST_S = 86400.0


def repeated_s(timeout_s: float) -> float:
    """For how long a submission is repeated that may take this long."""
    return min(max(REPEATED_S, timeout_s), _MOST_S - _BEYOND_S)


def keep(request: coordinator_pb2.SubmitTaskRequest, repeated_s: float) -> None:
    """Have a request's id kept for its repeats."""
    request.request_id_ttl.CopyFrom(duration(repeated_s + _BEYOND_S))


def clock_s() -> float:
    """Seconds that go on while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time()


def too_late() -> DeadlineExceeded:
    """Why a submission is not repeated any more."""
    return refusals.call_deadline(
        "the answer to this submission was lost, and it is too late to repeat it safely: it may have been stored."
        " Give a request_id of your own to repeat submissions for up to a day"
    )
