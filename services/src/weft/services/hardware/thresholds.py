"""From when on something is suggested: the defaults, and those of a request."""

from __future__ import annotations

import dataclasses

from weft.services.hardware.v1 import hardware_pb2


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """A value for each field of `Thresholds`."""

    memory_ratio: float = 0.9
    memory_pressure_ratio: float = 0.1
    swap_ratio: float = 0.5
    swapping_bytes_per_s: float = 1024 * 1024
    cpu_ratio: float = 0.95
    core_ratio: float = 0.95
    stolen_ratio: float = 0.1
    temperature_celsius: float = 85.0
    disk_ratio: float = 0.9
    files_ratio: float = 0.9
    disk_pressure_ratio: float = 0.3
    leak_bytes_per_hour: float = 256 * 1024 * 1024
    process_cpu_ratio: float = 0.5
    process_memory_ratio: float = 0.3
    throttled_ratio: float = 0.1
    group_memory_ratio: float = 0.9
    gpu_memory_ratio: float = 0.95
    interface_errors_per_s: float = 1.0


def bounds_of(thresholds: hardware_pb2.Thresholds) -> Bounds:
    """The thresholds of a request; defaults where it says nothing."""
    return Bounds(**{field.name: value for field, value in thresholds.ListFields()})
