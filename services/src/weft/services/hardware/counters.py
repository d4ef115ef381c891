"""What a machine counts since its start: read twice, it gives rates. Blocking, from any thread; a call takes some milliseconds."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import psutil

from weft.rpc.process import host_readings, process_readings

# Bound of the work: further processes are counted, and not looked at.
MOST_PROCESSES = 4096


class CoreTimes(NamedTuple):
    """Seconds of a core."""

    total_s: float
    idle_s: float
    io_wait_s: float
    stolen_s: float


class DiskCounts(NamedTuple):
    read_bytes: int
    written_bytes: int
    busy_s: float


class InterfaceCounts(NamedTuple):
    sent_bytes: int
    received_bytes: int
    errors: int
    dropped: int


class ProcessCounts(NamedTuple):
    cpu_s: float
    memory_bytes: int


# A process by its number and its start: numbers are used again.
ProcessKey = tuple[int, float]


class Counters:
    """The counts of one moment. What the machine does not tell stays empty, and is named in `hidden`."""

    def __init__(self) -> None:
        self.at_s = time.monotonic()
        self.hidden: list[str] = []
        self.cores: list[CoreTimes] = []
        self.partitions: list[host_readings.Partition] = []
        self.interfaces: dict[str, InterfaceCounts] = {}
        # Bytes read from swap, and written there.
        self.swapped: tuple[int, int] = (0, 0)
        self.throttled_s: float | None = None
        self.processes: dict[ProcessKey, ProcessCounts] = {}
        self.process_count = 0


def read_counters() -> Counters:
    """The counts of this moment."""
    counters = Counters()
    for name, read in _PARTS.items():
        with may_be_hidden(name, counters.hidden):
            read(counters)
    return counters


@contextlib.contextmanager
def may_be_hidden(part: str, hidden: list[str]) -> Iterator[None]:
    """Name a part of the machine that cannot be read: a hardened container hides some, another system has no such part."""
    try:
        yield
    except Exception:
        # Whatever the system or a driver raises costs this part alone.
        hidden.append(part)


def _cores(counters: Counters) -> None:
    for times in psutil.cpu_times(percpu=True)[: host_readings.MOST_CORES]:
        # Linux counts guests in user time, too.
        total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        waits_s, stolen_s = getattr(times, "iowait", 0.0), getattr(times, "steal", 0.0)
        counters.cores.append(CoreTimes(total_s, times.idle, waits_s, stolen_s))


def _disks(counters: Counters) -> None:
    counters.partitions = host_readings.partitions()
    if all(each.mount != "/" for each in counters.partitions):
        # The root of a container is no disk of its own.
        usage = psutil.disk_usage("/")
        counters.partitions.insert(0, host_readings.Partition("", "/", usage.total, usage.used))


def _interfaces(counters: Counters) -> None:
    found = psutil.net_io_counters(pernic=True).items()
    for name, each in itertools.islice(found, host_readings.MOST_INTERFACES + 1):
        if name != "lo":
            counters.interfaces[name] = InterfaceCounts(
                each.bytes_sent, each.bytes_recv, each.errin + each.errout, each.dropin + each.dropout
            )


def _swap(counters: Counters) -> None:
    swap = psutil.swap_memory()
    counters.swapped = swap.sin, swap.sout


def _control_group(counters: Counters) -> None:
    counters.throttled_s = process_readings.throttled_s()


def _processes(counters: Counters) -> None:
    for process in psutil.process_iter():
        counters.process_count += 1
        if counters.process_count > MOST_PROCESSES:
            continue
        # One may have ended meanwhile, or be somebody else's.
        with contextlib.suppress(psutil.Error, OSError), process.oneshot():
            times = process.cpu_times()
            key = process.pid, process.create_time()
            counters.processes[key] = ProcessCounts(times.user + times.system, process.memory_info().rss)


_PARTS = {
    "processor.times": _cores,
    "disks": _disks,
    "interfaces": _interfaces,
    "memory.swap": _swap,
    "control_group.throttled": _control_group,
    "processes": _processes,
}
