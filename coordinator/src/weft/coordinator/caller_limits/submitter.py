"""The limits of a caller that submits tasks, for those who take the submissions: its rate, and its unfinished tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from weft.coordinator.caller_limits.use_meter import UseMeter

_NO_METERS: Sequence[UseMeter] = ()


class Submitter:
    """A caller whose submissions have limits.

    Args:
        counted: the meter of a caller that may have only so many unfinished tasks. None: it may have any number.
        rated: meters of those with a rate: the caller, its namespace.
    """

    __slots__ = ("counted", "rated")

    def __init__(self, counted: UseMeter | None, rated: Sequence[UseMeter]) -> None:
        self.counted = counted
        self.rated = rated

    async def pace(self, count: int) -> None:
        """Wait until so many further tasks of a stream may be taken: each counts as a call."""
        for meter in self.rated:
            left = count
            # Others of the same caller may take the room meanwhile.
            while left := left - meter.take_calls(left, time.monotonic()):  # noqa: ASYNC110
                await asyncio.sleep(meter.calls_wait_s(left, time.monotonic()))


def submitter_of(context: Any) -> Submitter | None:
    """Who makes a call. None: its submissions have no limits, as those of most calls."""
    meters = getattr(context, "use_meters", _NO_METERS)
    if not meters:
        return None
    counted = next((each for each in meters if each.limits.queued_tasks and not each.of_namespace), None)
    rated = [each for each in meters if each.limits.calls_per_s]
    return Submitter(counted, rated) if counted is not None or rated else None
