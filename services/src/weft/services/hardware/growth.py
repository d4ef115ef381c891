"""Which processes grow without a pause: pure.

A process is fitted by a line through its sizes (least squares). It grows if the line rises steeply enough, if hardly a sample is smaller than
the one before, and if it was seen often and long enough: a process that fills a cache and stops is none.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from weft.services.hardware.v1 import hardware_pb2

LEAST_SAMPLES = 5
LEAST_S = 60.0
# Steps that do not go up, as a share.
_PAUSES = 0.2
# The second half of the time has at least this share of the growth.
_LATE = 0.25


def growing(
    samples: Sequence[hardware_pb2.Snapshot], bytes_per_hour: float
) -> Iterator[tuple[hardware_pb2.Process, float]]:
    """Processes that grow by so much or more, as they were seen last, with their bytes an hour."""
    seen: dict[tuple[int, int], list[tuple[float, hardware_pb2.Process]]] = defaultdict(list)
    for sample in samples:
        at_s = sample.read_at.seconds + sample.read_at.nanos / 1e9
        for process in sample.processes:
            seen[process.process_id, process.started_at.ToMilliseconds()].append((at_s, process))
    for sightings in seen.values():
        found = _bytes_per_hour([(at_s, each.memory_bytes) for at_s, each in sightings])
        # One that has ended is no trouble.
        lives = bool(samples) and any(each is sightings[-1][1] for each in samples[-1].processes)
        if lives and found >= bytes_per_hour and found > 0:
            yield sightings[-1][1], found


def _bytes_per_hour(points: list[tuple[float, int]]) -> float:
    """The growth; 0: it does not grow without a pause, or was not seen long enough."""
    if len(points) < LEAST_SAMPLES or points[-1][0] - points[0][0] < LEAST_S:
        return 0.0
    sizes = [size for _, size in points]
    pauses = sum(1 for before, after in itertools.pairwise(sizes) if after <= before)
    late = sizes[-1] - sizes[len(sizes) // 2]
    if pauses > _PAUSES * (len(points) - 1) or late < _LATE * (sizes[-1] - sizes[0]):
        return 0.0
    mean_s = sum(at_s for at_s, _ in points) / len(points)
    mean_size = sum(sizes) / len(points)
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    return sum((at_s - mean_s) * (size - mean_size) for at_s, size in points) / spread * 3600
