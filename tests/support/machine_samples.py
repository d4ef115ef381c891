"""Samples of a machine in good order, for tests of rules: each test changes what it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.services.hardware.v1 import hardware_pb2

GIB = 1 << 30
Change = Callable[[hardware_pb2.Snapshot], object]


def healthy(at_s: float = 1000.0) -> hardware_pb2.Snapshot:
    """A machine of 4 cores and 16 GiB, a quarter of which is used."""
    made = hardware_pb2.Snapshot()
    made.read_at.FromMilliseconds(int(at_s * 1000))
    made.processor.logical_cores = 4
    made.processor.use_ratio = 0.25
    made.processor.core_ratios.extend([0.25] * 4)
    made.processor.load_averages.extend([1.0, 1.0, 1.0])
    made.memory.size_bytes, made.memory.available_bytes = 16 * GIB, 12 * GIB
    made.memory.swap_bytes = 4 * GIB
    made.disks.add(
        device="/dev/a",
        mount="/",
        size_bytes=100 * GIB,
        used_bytes=40 * GIB,
        files=1000,
        used_files=100,
    )
    made.interfaces.add(name="eth0", up=True)
    made.processes.add(process_id=7, name="serveD", cpu_cores=0.5, memory_bytes=2 * GIB)
    made.process_count = 50
    return made


def changed(*changes: Change, samples: int = 1, every_s: float = 15.0) -> Sequence[hardware_pb2.Snapshot]:
    """So many samples with the same changes."""
    found = [healthy(1000 + number * every_s) for number in range(samples)]
    for each in found:
        for change in changes:
            change(each)
    return found
