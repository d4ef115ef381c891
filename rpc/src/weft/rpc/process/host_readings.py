"""What psutil and NVIDIA's library say of this host, at this moment. From any thread.

A function raises where the host does not tell: a hardened container may hide /proc.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psutil

# Bounds: a host may have a thousand loop devices, or interfaces of containers.
MOST_PARTITIONS = 32
MOST_INTERFACES = 32
MOST_CORES = 256


class Partition(NamedTuple):
    """A mounted partition. Bytes read and written since the host's start; 0: not known."""

    device: str
    mount: str
    size_bytes: int
    used_bytes: int
    read_bytes: int = 0
    written_bytes: int = 0
    file_system: str = ""
    # Time in which the device worked.
    busy_s: float = 0.0


class Gpu(NamedTuple):
    """A GPU by its number."""

    number: int
    name: str
    use_ratio: float
    memory_bytes: int
    used_memory_bytes: int


class GpuPower(NamedTuple):
    """How warm a GPU is, and what it takes. A GPU that does not tell has 0."""

    temperature_celsius: float
    power_watts: float
    power_limit_watts: float


def partitions() -> list[Partition]:
    """The partitions with a file system of a disk, each device once."""
    found: dict[str, Partition] = {}
    counters: Mapping[str, Any] = {}
    with contextlib.suppress(OSError, RuntimeError):
        counters = psutil.disk_io_counters(perdisk=True) or {}
    for each in psutil.disk_partitions(all=False):
        if each.device in found or each.fstype == "squashfs":
            continue
        try:
            usage = psutil.disk_usage(each.mountpoint)
        except OSError:
            # A device without a disk, or one that this user may not see.
            continue
        io = counters.get(each.device.rpartition("/")[2])
        found[each.device] = Partition(
            each.device,
            each.mountpoint,
            usage.total,
            usage.used,
            read_bytes=io.read_bytes if io is not None else 0,
            written_bytes=io.write_bytes if io is not None else 0,
            file_system=each.fstype,
            busy_s=getattr(io, "busy_time", 0) / 1000,
        )
        if len(found) >= MOST_PARTITIONS:
            break
    return list(found.values())


def interfaces() -> Iterator[tuple[str, int, int]]:
    """Network interfaces except the loopback: name, bytes sent, bytes received."""
    counters = psutil.net_io_counters(pernic=True)
    names = [name for name in counters if name != "lo"]
    for name in names[:MOST_INTERFACES]:
        yield name, counters[name].bytes_sent, counters[name].bytes_recv


def has_gpus() -> bool:
    """Whether this host has GPUs of NVIDIA that can be looked at."""
    try:
        return bool(gpus())
    except Exception:
        return False


def gpus() -> list[Gpu]:
    """NVIDIA's GPUs, if the package nvidia-ml-py and a driver are installed."""
    library = _nvidia()
    if library is None:
        return []
    found: list[Gpu] = []
    for number in range(library.nvmlDeviceGetCount()):
        handle = library.nvmlDeviceGetHandleByIndex(number)
        name = library.nvmlDeviceGetName(handle)
        memory = library.nvmlDeviceGetMemoryInfo(handle)
        use = library.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0
        shown = name.decode() if isinstance(name, bytes) else str(name)
        found.append(Gpu(number, shown, use, int(memory.total), int(memory.used)))
    return found


def gpu_power(number: int) -> GpuPower:
    """How warm a GPU is, and what it takes; for GPUs that `gpus` has found."""
    library = _nvidia()
    handle = library.nvmlDeviceGetHandleByIndex(number)

    def told(ask: Any, *arguments: Any) -> float:
        try:
            return float(ask(handle, *arguments))
        except library.NVMLError:
            # Many GPUs do not measure it.
            return 0.0

    return GpuPower(
        told(library.nvmlDeviceGetTemperature, library.NVML_TEMPERATURE_GPU),
        told(library.nvmlDeviceGetPowerUsage) / 1000,
        told(library.nvmlDeviceGetEnforcedPowerLimit) / 1000,
    )


@functools.cache
def _nvidia() -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        # Not installed, or there is no driver.
        return None
    return pynvml


def load_average() -> tuple[float, float, float]:
    """Processes that run or wait for a core, over 1, 5 and 15 minutes."""
    return psutil.getloadavg()
