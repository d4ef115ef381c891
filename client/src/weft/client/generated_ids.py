"""Rules for generated request ids. With a request id, a submission can be repeated when its answer was lost.

A coordinator keeps a generated id for minutes, not for a day. A later repeat could be stored as a second task, so the library
stops repeating before. The clock counts the time in which the machine sleeps.
"""

from __future__ import annotations

import sys
import time

from weft.rpc import refusals
from weft.rpc.errors import DeadlineExceeded
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2

# A submission is repeated for `REPEATED_S` after it was first sent. Its id is kept for another `_BEYOND_S`, because
# repeats may be under way, and clocks differ.
REPEATED_S = 300.0
_BEYOND_S = 300.0
_MOST_S = 86400.0


def repeated_s(timeout_s: float) -> float:
    """How long a submission with this timeout is repeated."""
    return min(max(REPEATED_S, timeout_s), _MOST_S - _BEYOND_S)


def keep(request: coordinator_pb2.SubmitTaskRequest, repeated_s: float) -> None:
    """Ask the coordinator to keep the request's id as long as it may be repeated."""
    request.request_id_ttl.CopyFrom(duration(repeated_s + _BEYOND_S))


def clock_s() -> float:
    """A clock that counts the time in which the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time()


def too_late() -> DeadlineExceeded:
    """The error of a submission that is not repeated any more."""
    return refusals.call_deadline(
        "the answer to this submission was lost, and it is too late to repeat it safely: it may have been stored."
        " Give a request_id of your own to repeat submissions for up to a day"
    )
