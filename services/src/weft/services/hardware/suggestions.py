"""What is wrong with a machine, why, and what can be done: pure rules over samples.

    samples, the oldest first ─► a rule for each topic ─► suggestions, the worst first

What is full is judged by the last sample; what happens by the mean of all of them, so that a moment is no finding; growth by all (`growth`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from weft.services.hardware.growth import growing
from weft.services.hardware.sizes import percent, size
from weft.services.hardware.thresholds import Bounds
from weft.services.hardware.v1 import hardware_pb2

Snapshot = hardware_pb2.Snapshot
Suggestion = hardware_pb2.Suggestion
Samples = Sequence[Snapshot]
WARNING, CRITICAL = hardware_pb2.SEVERITY_WARNING, hardware_pb2.SEVERITY_CRITICAL
# So much of the way from its threshold to 1, a share is critical: 0.97, of 0.9.
_CRITICAL_WAY = 0.7
# Free cores that leave a noisy process harmless.
_ROOM_RATIO = 0.1


def suggest(samples: Samples, bounds: Bounds) -> list[Suggestion]:
    """The suggestions for a machine, the worst first.

    Args:
        samples: of one machine, the oldest first.
    """
    if not samples:
        return []
    found = [each for rule in _RULES for each in rule(samples, bounds)]
    return sorted(found, key=lambda each: (-each.severity, each.topic, each.subject))


def _suggestion(
    topic: hardware_pb2.Topic,
    measured: float,
    threshold: float,
    reason: str,
    advice: str,
    *,
    subject: str = "",
    critical: bool | None = None,
) -> Suggestion:
    """One of a share, or of an amount that is critical at twice its threshold, unless `critical` says so."""
    if critical is None:
        limit = threshold + (1 - threshold) * _CRITICAL_WAY if threshold <= 1 else 2 * threshold
        critical = measured >= limit
    return Suggestion(
        topic=topic,
        severity=CRITICAL if critical else WARNING,
        subject=subject,
        reason=reason,
        advice=advice,
        measured=measured,
        threshold=threshold,
    )


def _mean(samples: Samples, read: Callable[[Snapshot], float]) -> float:
    return statistics.fmean(map(read, samples))


# -- memory -------------------------------------------------------------------------------------------------------


def used_memory_ratio(sample: Snapshot) -> float:
    memory = sample.memory
    return 1 - memory.available_bytes / memory.size_bytes if memory.size_bytes else 0.0


def _memory_full(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    last, ratio = samples[-1], used_memory_ratio(samples[-1])
    if not last.memory.size_bytes or ratio < bounds.memory_ratio:
        return
    largest = max(last.processes, key=lambda each: each.memory_bytes, default=None)
    advice = "Give the machine more memory, or run less on it."
    if largest is not None:
        advice = (
            f"Most is used by {named(largest)}, {size(largest.memory_bytes)}: end it, bound it by a control group,"
            " or give the machine more memory."
        )
    left = size(last.memory.available_bytes)
    reason = f"{percent(ratio)} of {size(last.memory.size_bytes)} of memory is used; {left} is left."
    yield _suggestion(hardware_pb2.TOPIC_MEMORY_FULL, ratio, bounds.memory_ratio, reason, advice)


def _memory_pressure(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    pressure = samples[-1].memory.pressure
    if (ratio := pressure.some_ratio_60s) < bounds.memory_pressure_ratio or not ratio:
        return
    yield _suggestion(
        hardware_pb2.TOPIC_MEMORY_PRESSURE,
        ratio,
        bounds.memory_pressure_ratio,
        f"Tasks waited for memory in {percent(ratio)} of the last minute, all of them in {percent(pressure.full_ratio_60s)}.",
        "Fewer slots, or more memory: what waits for memory does no work.",
        critical=pressure.full_ratio_60s >= bounds.memory_pressure_ratio,
    )


def _swap(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    memory = samples[-1].memory
    ratio = memory.used_swap_bytes / memory.swap_bytes if memory.swap_bytes else 0.0
    if memory.swap_bytes and ratio >= bounds.swap_ratio:
        reason = f"{percent(ratio)} of {size(memory.swap_bytes)} of swap space is used."
        advice = (
            "When it is full, the kernel kills processes: give the machine more memory, or run less on it."
        )
        yield _suggestion(hardware_pb2.TOPIC_SWAP_USED, ratio, bounds.swap_ratio, reason, advice)
    rate = _mean(
        samples, lambda each: each.memory.swapped_in_bytes_per_s + each.memory.swapped_out_bytes_per_s
    )
    if rate and rate >= bounds.swapping_bytes_per_s:
        yield _suggestion(
            hardware_pb2.TOPIC_SWAPPING,
            rate,
            bounds.swapping_bytes_per_s,
            f"{size(rate)} a second are moved between memory and swap space.",
            "More is in use than fits into memory, and everything waits for the disk: run less at a time.",
        )


# -- cores --------------------------------------------------------------------------------------------------------


def _cores(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    processor = samples[-1].processor
    ratio = _mean(samples, lambda each: each.processor.use_ratio)
    if ratio and ratio >= bounds.cpu_ratio:
        waits = processor.load_averages[0] if processor.load_averages else 0.0
        yield _suggestion(
            hardware_pb2.TOPIC_CORES_FULL,
            ratio,
            bounds.cpu_ratio,
            f"All {processor.logical_cores} cores are used for {percent(ratio)} of the time; {waits:.1f} processes want them.",
            "Fewer slots, or another agent on another machine: more work at a time makes all of it slower.",
            # Full cores are good use of a machine, until much more wants them.
            critical=waits >= 4 * max(1, processor.logical_cores),
        )
        return
    cores = [list(each.processor.core_ratios) for each in samples]
    if len(processor.core_ratios) < 2 or len({len(each) for each in cores}) != 1:
        return
    means = [statistics.fmean(column) for column in zip(*cores, strict=True)]
    hottest = max(range(len(means)), key=means.__getitem__)
    if means[hottest] >= bounds.core_ratio and ratio < bounds.core_ratio / 2 + 1 / (2 * len(means)):
        yield _suggestion(
            hardware_pb2.TOPIC_HOT_CORE,
            means[hottest],
            bounds.core_ratio,
            f"Core {hottest} is used for {percent(means[hottest])} of the time, all together for {percent(ratio)}.",
            "Something uses one core at a time: run it in several processes (`isolate=True`, or more agents).",
            subject=f"core {hottest}",
            critical=False,
        )


def _stolen(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    ratio = _mean(samples, lambda each: each.processor.stolen_ratio)
    if ratio and ratio >= bounds.stolen_ratio:
        reason = f"The machine below this virtual one took {percent(ratio)} of the cores' time."
        advice = "Its owner runs too much on it, or its credits are used up: move, or take a machine with cores of its own."
        yield _suggestion(hardware_pb2.TOPIC_CPU_STOLEN, ratio, bounds.stolen_ratio, reason, advice)


def _temperature(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    last = samples[-1]
    sensors = {"processor": last.processor.temperature_celsius}
    sensors |= {f"GPU {each.number}": each.temperature_celsius for each in last.gpus}
    for subject, degrees in sensors.items():
        if degrees and degrees >= bounds.temperature_celsius:
            reason = f"The {subject} has {degrees:.0f} °C."
            advice = "It will slow itself down: look at its fans and filters, or give it less to do."
            critical = degrees >= bounds.temperature_celsius + 10
            yield _suggestion(
                hardware_pb2.TOPIC_TEMPERATURE,
                degrees,
                bounds.temperature_celsius,
                reason,
                advice,
                subject=subject,
                critical=critical,
            )


# -- disks and network --------------------------------------------------------------------------------------------


def _disks(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    for disk in samples[-1].disks:
        ratio = disk.used_bytes / disk.size_bytes if disk.size_bytes else 0.0
        if disk.size_bytes and ratio >= bounds.disk_ratio:
            left = size(max(0, disk.size_bytes - disk.used_bytes))
            reason = f"{percent(ratio)} of {size(disk.size_bytes)} at {disk.mount} are used; {left} are left."
            advice = "Delete what is not needed, such as old logs, images and caches, or make it larger."
            yield _suggestion(
                hardware_pb2.TOPIC_DISK_FULL, ratio, bounds.disk_ratio, reason, advice, subject=disk.mount
            )
        files = disk.used_files / disk.files if disk.files else 0.0
        if disk.files and files >= bounds.files_ratio:
            reason = f"{percent(files)} of the {disk.files} files that {disk.mount} can have exist."
            advice = "Delete many small files, such as caches and sessions: there may be room, and still no place for a file."
            yield _suggestion(
                hardware_pb2.TOPIC_FILES_FULL, files, bounds.files_ratio, reason, advice, subject=disk.mount
            )


def _disk_pressure(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    ratio = samples[-1].disk_pressure.some_ratio_60s
    if not ratio or ratio < bounds.disk_pressure_ratio:
        return
    busiest = max(samples[-1].disks, key=lambda each: each.busy_ratio, default=None)
    shown = f" The busiest is {busiest.mount}." if busiest is not None and busiest.busy_ratio else ""
    yield _suggestion(
        hardware_pb2.TOPIC_DISK_PRESSURE,
        ratio,
        bounds.disk_pressure_ratio,
        f"Tasks waited for disks in {percent(ratio)} of the last minute.{shown}",
        "Read and write less at a time, or take a faster disk.",
    )


def _interfaces(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    for interface in samples[-1].interfaces:
        named_so = [each for sample in samples for each in sample.interfaces if each.name == interface.name]
        rate = statistics.fmean(each.errors_per_s for each in named_so)
        if rate and rate >= bounds.interface_errors_per_s:
            reason = f"{interface.name} has {rate:.1f} packets with errors a second."
            advice = "Look at its cable, its driver and the other end."
            yield _suggestion(
                hardware_pb2.TOPIC_INTERFACE_ERRORS,
                rate,
                bounds.interface_errors_per_s,
                reason,
                advice,
                subject=interface.name,
                critical=False,
            )


# -- processes, control group, GPUs -------------------------------------------------------------------------------


def named(process: hardware_pb2.Process) -> str:
    return f"process {process.process_id} ({process.name})"


def _leaks(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    for process, per_hour in growing(samples, bounds.leak_bytes_per_hour):
        hours = samples[-1].memory.available_bytes / per_hour
        yield _suggestion(
            hardware_pb2.TOPIC_LEAK,
            per_hour,
            bounds.leak_bytes_per_hour,
            f"The {named(process)} grows by {size(per_hour)} an hour, and has {size(process.memory_bytes)}.",
            f"If it goes on, memory is full in {hours:.1f} hours: restart it in time, and look for what it keeps.",
            subject=named(process),
            critical=hours < 1,
        )


def _noisy(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    last = samples[-1]
    cores = last.processor.logical_cores
    used = _mean(samples, lambda each: each.processor.use_ratio)
    for process in last.processes:
        ratio = process.cpu_cores / cores if cores else 0.0
        if ratio and ratio >= bounds.process_cpu_ratio and used >= 1 - _ROOM_RATIO:
            reason = f"The {named(process)} uses {process.cpu_cores:.1f} of {cores} cores, and {percent(1 - used)} are free."
            advice = (
                "If others should not wait for it, lower its priority (`renice`), or bound it (`CPUQuota`)."
            )
            yield _suggestion(
                hardware_pb2.TOPIC_NOISY_PROCESS,
                ratio,
                bounds.process_cpu_ratio,
                reason,
                advice,
                subject=named(process),
                critical=False,
            )
        memory = process.memory_bytes / last.memory.size_bytes if last.memory.size_bytes else 0.0
        full = used_memory_ratio(last) >= bounds.memory_ratio
        if memory and memory >= bounds.process_memory_ratio and full:
            reason = f"The {named(process)} uses {size(process.memory_bytes)}, {percent(memory)} of the memory, which is full."
            advice = "The kernel will kill a process when nothing is left, most likely this one: restart it before, or bound it."
            yield _suggestion(
                hardware_pb2.TOPIC_LARGE_PROCESS,
                memory,
                bounds.process_memory_ratio,
                reason,
                advice,
                subject=named(process),
                critical=False,
            )


def _control_group(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    group = samples[-1].control_group
    ratio = _mean(samples, lambda each: each.control_group.throttled_ratio)
    if ratio and ratio >= bounds.throttled_ratio:
        limit = f"its limit of {group.cpu_limit_cores:g} cores" if group.cpu_limit_cores else "its limit"
        reason = (
            f"The agent's control group was kept from running for {percent(ratio)} of the time, by {limit}."
        )
        advice = "Raise the limit, or give the agent fewer slots: calls take longer than they need."
        yield _suggestion(
            hardware_pb2.TOPIC_THROTTLED,
            ratio,
            bounds.throttled_ratio,
            reason,
            advice,
            critical=ratio >= max(0.5, bounds.throttled_ratio),
        )
    limit_bytes = group.memory_limit_bytes
    used = group.used_memory_bytes / limit_bytes if limit_bytes else 0.0
    killed = group.memory_kills > samples[0].control_group.memory_kills
    if limit_bytes and (used >= bounds.group_memory_ratio or killed):
        reason = f"The agent's control group uses {percent(used)} of the {size(limit_bytes)} that it may."
        if killed:
            reason += " The kernel has killed something in it for want of memory."
        advice = "Raise the limit, or give the agent fewer slots."
        yield _suggestion(
            hardware_pb2.TOPIC_GROUP_MEMORY,
            used,
            bounds.group_memory_ratio,
            reason,
            advice,
            critical=True if killed else None,
        )


def _gpus(samples: Samples, bounds: Bounds) -> Iterator[Suggestion]:
    for gpu in samples[-1].gpus:
        ratio = gpu.used_memory_bytes / gpu.memory_bytes if gpu.memory_bytes else 0.0
        if gpu.memory_bytes and ratio >= bounds.gpu_memory_ratio:
            reason = (
                f"{percent(ratio)} of the {size(gpu.memory_bytes)} of GPU {gpu.number} ({gpu.name}) are used."
            )
            advice = "Unload a model, take a smaller one, or give the method a `consumes` of GPU memory, so that fewer run."
            yield _suggestion(
                hardware_pb2.TOPIC_GPU_MEMORY,
                ratio,
                bounds.gpu_memory_ratio,
                reason,
                advice,
                subject=f"GPU {gpu.number}",
            )


_RULES = (
    _memory_full,
    _memory_pressure,
    _swap,
    _cores,
    _stolen,
    _temperature,
    _disks,
    _disk_pressure,
    _interfaces,
    _leaks,
    _noisy,
    _control_group,
    _gpus,
)
