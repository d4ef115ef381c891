"""The host's figures as metrics: asked for at each reading, from any thread."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from weft.rpc.process import host_readings
from weft.rpc.telemetry import host_metrics as metrics
from weft.rpc.telemetry.figures import Figures, Labels

Numbers = Iterator[tuple[Labels, float]]
_MODES = ("user", "system", "idle", "iowait")
_PERIODS = ("1m", "5m", "15m")


def ask_host(figures: Figures) -> None:
    """Export the figures of this host."""
    figures.ask(metrics.CPU_TIME, _cpu_times)
    figures.ask(metrics.LOAD, _load)
    figures.ask(metrics.MEMORY, _memory)
    figures.ask(metrics.SWAP, _swap)
    figures.ask(metrics.FILESYSTEM, _filesystems)
    figures.ask(metrics.DISK_IO, _disk_io)
    figures.ask(metrics.NETWORK_IO, _network_io)
    if host_readings.has_gpus():
        figures.ask(metrics.GPU_USE, lambda: _by_gpu("use_ratio"))
        figures.ask(metrics.GPU_MEMORY, lambda: _by_gpu("used_memory_bytes"))
        figures.ask(metrics.GPU_MEMORY_LIMIT, lambda: _by_gpu("memory_bytes"))


def _cpu_times() -> Numbers:
    for number, times in enumerate(psutil.cpu_times(percpu=True)[: host_readings.MOST_CORES]):
        for mode in _MODES:
            yield (str(number), mode), getattr(times, mode, 0.0)


def _load() -> Numbers:
    for period, load in zip(_PERIODS, host_readings.load_average(), strict=True):
        yield (period,), load


def _memory() -> Numbers:
    memory = psutil.virtual_memory()
    yield ("used",), memory.total - memory.available
    yield ("free",), memory.available


def _swap() -> Numbers:
    swap = psutil.swap_memory()
    yield ("used",), swap.used
    yield ("free",), swap.free


def _filesystems() -> Numbers:
    for each in host_readings.partitions():
        yield (each.device, each.mount, "used"), each.used_bytes
        yield (each.device, each.mount, "free"), each.size_bytes - each.used_bytes


def _disk_io() -> Numbers:
    for each in host_readings.partitions():
        yield (each.device, "read"), each.read_bytes
        yield (each.device, "write"), each.written_bytes


def _network_io() -> Numbers:
    for name, sent, received in host_readings.interfaces():
        yield (name, "transmit"), sent
        yield (name, "receive"), received


def _by_gpu(figure: str) -> Numbers:
    for gpu in host_readings.gpus():
        yield (str(gpu.number), gpu.name), getattr(gpu, figure)
