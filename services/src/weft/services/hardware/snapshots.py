"""Makes a snapshot of the machine: what is read at this moment, and rates since earlier counts. Blocking, from any thread."""

from __future__ import annotations

import contextlib
import heapq
import os
import platform
from collections.abc import Callable, Collection
from pathlib import Path

import psutil

from weft.rpc.process import host_readings, process_readings
from weft.rpc.process.environment import environment
from weft.services.hardware.counters import Counters, ProcessKey, may_be_hidden, read_counters
from weft.services.hardware.pressure import read_pressure
from weft.services.hardware.v1 import hardware_pb2

# Rates over less time are noise.
LEAST_S = 0.05
_MOST_NAME_CHARS = 64
_CPU_INFO = Path("/proc/cpuinfo")
_MOST_CPU_INFO_BYTES = 64 * 1024
# The names of sensors of processors.
_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal")


def make_snapshot(
    before: Counters, max_processes: int, agent_id: str, processes: Collection[int] = ()
) -> tuple[hardware_pb2.Snapshot, Counters]:
    """The machine at this moment, and its counts, for the next snapshot.

    Args:
        before: counts that rates are measured from.
        max_processes: so many are told that use most CPU, and so many that use most memory.
        processes: numbers of others that are told, too.
    """
    after = read_counters()
    snapshot = hardware_pb2.Snapshot(hidden=after.hidden, process_count=after.process_count)
    snapshot.read_at.GetCurrentTime()
    seconds = max(LEAST_S, after.at_s - before.at_s)
    snapshot.measured_over.FromMilliseconds(round(seconds * 1000))
    snapshot.host.agent_id = agent_id
    hidden: list[str] = []
    for name, fill in _PARTS.items():
        with may_be_hidden(name, hidden):
            fill(snapshot, before, after, seconds)
    with may_be_hidden("processes.details", hidden):
        _processes(snapshot, before, after, max_processes, processes)
    snapshot.hidden.extend(hidden)
    return snapshot, after


def _host(snapshot: hardware_pb2.Snapshot, _before: Counters, _after: Counters, _seconds: float) -> None:
    host, names = snapshot.host, platform.uname()
    host.name, host.system, host.kernel, host.architecture = (
        names.node,
        names.system,
        names.release,
        names.machine,
    )
    host.environment.update(environment())
    host.started_at.FromSeconds(int(psutil.boot_time()))


def _processor(snapshot: hardware_pb2.Snapshot, before: Counters, after: Counters, _seconds: float) -> None:
    processor = snapshot.processor
    processor.logical_cores = psutil.cpu_count() or len(after.cores)
    processor.physical_cores = psutil.cpu_count(logical=False) or 0
    processor.load_averages.extend(host_readings.load_average())
    passed = [
        tuple(now - then for now, then in zip(core, earlier, strict=True))
        for core, earlier in zip(after.cores, before.cores, strict=False)
    ]
    processor.core_ratios.extend(
        _share(total_s - idle_s - waits_s, total_s) for total_s, idle_s, waits_s, _ in passed
    )
    total_s, idle_s, waits_s, stolen_s = (sum(column) for column in zip(*passed, strict=True))
    processor.use_ratio = _share(total_s - idle_s - waits_s, total_s)
    processor.io_wait_ratio = _share(waits_s, total_s)
    processor.stolen_ratio = _share(stolen_s, total_s)


def _processor_kind(snapshot: hardware_pb2.Snapshot, *_: object) -> None:
    snapshot.processor.model = _model()
    if (frequency := psutil.cpu_freq()) is not None:
        snapshot.processor.frequency_mhz = frequency.current


def _model() -> str:
    with contextlib.suppress(OSError), _CPU_INFO.open("rb") as file:
        for line in file.read(_MOST_CPU_INFO_BYTES).decode(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor()


def _temperature(snapshot: hardware_pb2.Snapshot, *_: object) -> None:
    found = psutil.sensors_temperatures()
    sensors = [each.current for name in _SENSORS for each in found.get(name, ())]
    snapshot.processor.temperature_celsius = max(sensors, default=0.0)


def _memory(snapshot: hardware_pb2.Snapshot, before: Counters, after: Counters, seconds: float) -> None:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    snapshot.memory.size_bytes, snapshot.memory.available_bytes = memory.total, memory.available
    snapshot.memory.swap_bytes, snapshot.memory.used_swap_bytes = swap.total, swap.used
    snapshot.memory.swapped_in_bytes_per_s = _rate(before.swapped[0], after.swapped[0], seconds)
    snapshot.memory.swapped_out_bytes_per_s = _rate(before.swapped[1], after.swapped[1], seconds)


def _disks(snapshot: hardware_pb2.Snapshot, before: Counters, after: Counters, seconds: float) -> None:
    earlier = {(each.device, each.mount): each for each in before.partitions}
    for each in after.partitions:
        disk = snapshot.disks.add(
            device=each.device,
            mount=each.mount,
            file_system=each.file_system,
            size_bytes=each.size_bytes,
            used_bytes=each.used_bytes,
        )
        with contextlib.suppress(OSError, AttributeError):
            numbers = os.statvfs(each.mount)
            disk.files, disk.used_files = numbers.f_files, max(0, numbers.f_files - numbers.f_ffree)
        then = earlier.get((each.device, each.mount), each)
        disk.read_bytes_per_s = _rate(then.read_bytes, each.read_bytes, seconds)
        disk.written_bytes_per_s = _rate(then.written_bytes, each.written_bytes, seconds)
        disk.busy_ratio = _share(each.busy_s - then.busy_s, seconds)


def _interfaces(snapshot: hardware_pb2.Snapshot, before: Counters, after: Counters, seconds: float) -> None:
    told = psutil.net_if_stats()
    for name, now in after.interfaces.items():
        interface = snapshot.interfaces.add(name=name)
        if name in told:
            interface.up, interface.bits_per_s = told[name].isup, told[name].speed * 1_000_000
        then = before.interfaces.get(name, now)
        interface.sent_bytes_per_s = _rate(then.sent_bytes, now.sent_bytes, seconds)
        interface.received_bytes_per_s = _rate(then.received_bytes, now.received_bytes, seconds)
        interface.errors_per_s = _rate(then.errors, now.errors, seconds)
        interface.dropped_per_s = _rate(then.dropped, now.dropped, seconds)


def _gpus(snapshot: hardware_pb2.Snapshot, *_: object) -> None:
    for gpu in host_readings.gpus():
        power = host_readings.gpu_power(gpu.number)
        snapshot.gpus.add(**gpu._asdict(), **power._asdict())


def _control_group(
    snapshot: hardware_pb2.Snapshot, before: Counters, after: Counters, seconds: float
) -> None:
    group = snapshot.control_group
    group.cpu_limit_cores = process_readings.cpu_limit() or 0.0
    group.memory_limit_bytes = process_readings.memory_limit() or 0
    group.used_memory_bytes = process_readings.cgroup_memory() or 0
    group.memory_kills = process_readings.memory_kills() or 0
    if before.throttled_s is not None and after.throttled_s is not None:
        group.throttled_ratio = max(0.0, after.throttled_s - before.throttled_s) / seconds


def _processes(
    snapshot: hardware_pb2.Snapshot,
    before: Counters,
    after: Counters,
    max_processes: int,
    others: Collection[int],
) -> None:
    seconds = max(LEAST_S, after.at_s - before.at_s)
    cores = {
        key: _rate(before.processes[key].cpu_s, now.cpu_s, seconds)
        for key, now in after.processes.items()
        if key in before.processes
    }
    memory = {key: now.memory_bytes for key, now in after.processes.items()}
    chosen: set[ProcessKey] = {
        *heapq.nlargest(max_processes, cores, key=lambda key: cores[key]),
        *heapq.nlargest(max_processes, memory, key=lambda key: memory[key]),
        *(key for key in memory if key[0] in others),
    }
    for key in sorted(chosen, key=lambda key: (-cores.get(key, 0.0), -memory[key])):
        # It may have ended meanwhile.
        with contextlib.suppress(psutil.Error, OSError):
            snapshot.processes.append(_process(key, cores.get(key, 0.0), memory[key]))


def _process(key: ProcessKey, cores: float, memory_bytes: int) -> hardware_pb2.Process:
    number, started_s = key
    process = psutil.Process(number)
    with process.oneshot():
        found = hardware_pb2.Process(
            process_id=number,
            parent_id=process.ppid(),
            # Never more than the program's name: arguments may have secrets.
            name=process.name()[:_MOST_NAME_CHARS],
            cpu_cores=cores,
            memory_bytes=memory_bytes,
            threads=process.num_threads(),
            state=process.status(),
        )
        found.started_at.FromMilliseconds(int(started_s * 1000))
        # A user without a name is told by its number.
        with contextlib.suppress(psutil.Error, KeyError):
            found.user = process.username()
    return found


def _rate(before: float, now: float, seconds: float) -> float:
    # A counter may have begun anew.
    return max(0.0, now - before) / seconds


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


Fill = Callable[[hardware_pb2.Snapshot, Counters, Counters, float], None]
_PARTS: dict[str, Fill] = {
    "host": _host,
    "processor": _processor,
    "processor.model": _processor_kind,
    "processor.temperature": _temperature,
    "processor.pressure": lambda made, *_: made.processor.pressure.CopyFrom(read_pressure("cpu")),
    "memory": _memory,
    "memory.pressure": lambda made, *_: made.memory.pressure.CopyFrom(read_pressure("memory")),
    "disk_pressure": lambda made, *_: made.disk_pressure.CopyFrom(read_pressure("io")),
    "disks": _disks,
    "interfaces": _interfaces,
    "gpus": _gpus,
    "control_group": _control_group,
}
