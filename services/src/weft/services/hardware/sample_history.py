"""The last samples of a machine: bounded by their number."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from weft.services.hardware.v1 import hardware_pb2

MOST_SAMPLES = 1000


class History:
    """Samples, the oldest first; the oldest goes when there are too many.

    Args:
        interval_s: between samples; 0: none are kept.
        kept_s: how far they go back.
    """

    def __init__(self, interval_s: float, kept_s: float) -> None:
        most = min(MOST_SAMPLES, math.ceil(kept_s / interval_s) + 1) if interval_s else 0
        self._samples: deque[hardware_pb2.Snapshot] = deque(maxlen=most)

    def add(self, sample: hardware_pb2.Snapshot) -> None:
        self._samples.append(sample)

    def since(self, at_s: float) -> Sequence[hardware_pb2.Snapshot]:
        """The samples from a moment on, in seconds since 1970."""
        return [each for each in self._samples if each.read_at.seconds >= at_s]
