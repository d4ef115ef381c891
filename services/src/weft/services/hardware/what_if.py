"""What would become of a machine if something changed: pure, by sums.

    present ─► each change: a copy with other figures, and how it was reckoned ─► predicted

Cores: what is used now and what comes share them; beyond them, everything is slower. Memory: what is left goes first, then swap space; beyond that it
does not fit. What a change does to caches, disks' and networks' rates is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from weft.services.hardware.sizes import percent, size
from weft.services.hardware.suggestions import named, suggest
from weft.services.hardware.thresholds import Bounds
from weft.services.hardware.v1 import hardware_pb2

Snapshot = hardware_pb2.Snapshot


class UnknownSubjectError(Exception):
    """A change is about something that the machine does not have."""


class Prediction(NamedTuple):
    """What would be."""

    snapshot: Snapshot
    reasons: list[str]
    fits: bool
    speed_ratio: float


class _World:
    """A machine that changes: its snapshot, the cores that its work wants, and the memory that does not fit."""

    def __init__(self, present: Snapshot) -> None:
        self.snapshot = Snapshot()
        self.snapshot.CopyFrom(present)
        self.before_cores = present.processor.use_ratio * present.processor.logical_cores
        self.wanted_cores = self.before_cores
        # What the work of the control group wants is not known: what comes is added to nothing.
        self.group_cores = 0.0
        self.reasons: list[str] = []
        self.fits = True

    def does_not_fit(self, reason: str) -> None:
        self.fits = False
        self.reasons.append(reason)


def predict(present: Snapshot, changes: Sequence[hardware_pb2.Change]) -> Prediction:
    """The machine after changes, one after another.

    Raises:
        UnknownSubjectError: a change names a process, a mount or a GPU that is not there.
    """
    world = _World(present)
    for change in changes:
        kind = change.WhichOneof("kind")
        if kind is not None:
            _KINDS[kind](world, getattr(change, kind))
    speed = _share_cores(world)
    return Prediction(world.snapshot, world.reasons, world.fits, speed)


def what_if(present: Snapshot, then: Prediction, bounds: Bounds) -> hardware_pb2.WhatIfResponse:
    """A prediction as it is told, with what is suggested now and then."""
    return hardware_pb2.WhatIfResponse(
        present=present,
        predicted=then.snapshot,
        suggestions_now=suggest([present], bounds),
        suggestions_then=suggest([then.snapshot], bounds),
        reasons=then.reasons,
        fits=then.fits,
        speed_ratio=then.speed_ratio,
    )


def _share_cores(world: _World) -> float:
    """Set the use of the cores; returns the speed of work."""
    processor, group = world.snapshot.processor, world.snapshot.control_group
    cores = processor.logical_cores
    if not cores:
        world.reasons.append("The machine does not tell its cores: its speed is not reckoned.")
        return 1.0
    wanted = max(0.0, world.wanted_cores)
    if processor.load_averages:
        # What comes or goes, beside what waits already.
        processor.load_averages[0] = max(0.0, processor.load_averages[0] + wanted - world.before_cores)
    processor.use_ratio = min(1.0, wanted / cores)
    processor.core_ratios[:] = [processor.use_ratio] * len(processor.core_ratios)
    speed = min(1.0, cores / wanted) if wanted else 1.0
    if speed < 1:
        world.reasons.append(
            f"Work wants {wanted:.1f} of {cores} cores: it runs at {percent(speed)} of its speed."
        )
    if group.cpu_limit_cores and world.group_cores > group.cpu_limit_cores:
        speed = min(speed, group.cpu_limit_cores / world.group_cores)
        group.throttled_ratio = max(group.throttled_ratio, 1 - group.cpu_limit_cores / world.group_cores)
        world.reasons.append(
            f"The new work wants {world.group_cores:.1f} cores, and the agent's control group may use {group.cpu_limit_cores:g}."
        )
    return speed


def _add_work(world: _World, work: hardware_pb2.AddWork) -> None:
    copies = work.copies or 1
    world.wanted_cores += copies * work.cpu_cores
    world.group_cores += copies * work.cpu_cores
    if work.cpu_cores:
        world.reasons.append(f"The work adds {copies * work.cpu_cores:.1f} cores of load.")
    if work.memory_bytes:
        _take_memory(world, copies * work.memory_bytes)
    if work.disk_bytes:
        _take_disk(world, work.mount or "/", copies * work.disk_bytes)
    if work.gpu_memory_bytes:
        _take_gpu(world, work.gpu, copies * work.gpu_memory_bytes)


def _take_memory(world: _World, needed: int) -> None:
    memory, group = world.snapshot.memory, world.snapshot.control_group
    world.reasons.append(f"The work takes {size(needed)} of memory.")
    if group.memory_limit_bytes and group.used_memory_bytes + needed > group.memory_limit_bytes:
        over = group.used_memory_bytes + needed - group.memory_limit_bytes
        world.does_not_fit(
            f"That is {size(over)} beyond the limit of the agent's control group: the kernel would kill something in it."
        )
    group.used_memory_bytes += needed
    from_memory = min(needed, memory.available_bytes)
    rest = needed - from_memory
    memory.available_bytes -= from_memory
    if not rest:
        return
    # A snapshot of somebody else may say anything.
    to_swap = min(rest, max(0, memory.swap_bytes - memory.used_swap_bytes))
    memory.used_swap_bytes += to_swap
    if to_swap:
        world.reasons.append(f"{size(to_swap)} goes to swap space: what waits for it is slow.")
    if rest > to_swap:
        world.does_not_fit(f"{size(rest - to_swap)} of memory is missing: the kernel would kill a process.")


def _take_disk(world: _World, mount: str, needed: int) -> None:
    disk = _disk(world.snapshot, mount)
    left = max(0, disk.size_bytes - disk.used_bytes)
    world.reasons.append(f"The work leaves {size(needed)} at {mount}.")
    if needed > left:
        world.does_not_fit(f"{size(needed - left)} is missing at {mount}: writes would fail.")
    disk.used_bytes = min(disk.size_bytes, disk.used_bytes + needed)


def _take_gpu(world: _World, number: int, needed: int) -> None:
    gpu = next((each for each in world.snapshot.gpus if each.number == number), None)
    if gpu is None:
        raise UnknownSubjectError(f"there is no GPU {number}; there are {len(world.snapshot.gpus)}")
    left = max(0, gpu.memory_bytes - gpu.used_memory_bytes)
    world.reasons.append(f"The work takes {size(needed)} of GPU {number}.")
    if needed > left:
        world.does_not_fit(f"{size(needed - left)} is missing at GPU {number}: it would not load.")
    gpu.used_memory_bytes = min(gpu.memory_bytes, gpu.used_memory_bytes + needed)


def _end_process(world: _World, end: hardware_pb2.EndProcess) -> None:
    processes = world.snapshot.processes
    process = next((each for each in processes if each.process_id == end.process_id), None)
    if process is None:
        raise UnknownSubjectError(f"there is no process {end.process_id}")
    world.wanted_cores -= process.cpu_cores
    memory = world.snapshot.memory
    memory.available_bytes = min(memory.size_bytes, memory.available_bytes + process.memory_bytes)
    world.snapshot.process_count = max(0, world.snapshot.process_count - 1)
    world.reasons.append(
        f"The end of {named(process)} frees {process.cpu_cores:.1f} cores and up to {size(process.memory_bytes)}:"
        " less if it shares memory with others."
    )
    processes.remove(process)


def _resize(world: _World, resize: hardware_pb2.Resize) -> None:
    processor, memory, group = (
        world.snapshot.processor,
        world.snapshot.memory,
        world.snapshot.control_group,
    )
    if resize.logical_cores:
        world.reasons.append(
            f"The machine has {resize.logical_cores} cores, and had {processor.logical_cores}."
        )
        processor.logical_cores = resize.logical_cores
        processor.core_ratios[:] = [0.0] * min(resize.logical_cores, 256)
    if resize.memory_bytes:
        used = memory.size_bytes - memory.available_bytes
        world.reasons.append(
            f"The machine has {size(resize.memory_bytes)}, and had {size(memory.size_bytes)}."
        )
        memory.size_bytes, memory.available_bytes = resize.memory_bytes, max(0, resize.memory_bytes - used)
        if used > resize.memory_bytes:
            world.does_not_fit(f"{size(used - resize.memory_bytes)} of memory is missing for what runs.")
    if resize.cpu_limit_cores:
        group.cpu_limit_cores = resize.cpu_limit_cores
        world.reasons.append(f"The agent's control group may use {resize.cpu_limit_cores:g} cores.")
    if resize.memory_limit_bytes:
        group.memory_limit_bytes = resize.memory_limit_bytes
        world.reasons.append(f"The agent's control group may use {size(resize.memory_limit_bytes)}.")
        if group.used_memory_bytes > resize.memory_limit_bytes:
            world.does_not_fit("It uses more: the kernel would kill something in it.")


def _free_disk(world: _World, free: hardware_pb2.FreeDisk) -> None:
    disk = _disk(world.snapshot, free.mount or "/")
    freed = min(disk.used_bytes, free.freed_bytes)
    disk.used_bytes -= freed
    world.reasons.append(f"{size(freed)} are freed at {disk.mount}.")


def _disk(snapshot: Snapshot, mount: str) -> hardware_pb2.Disk:
    found = next((each for each in snapshot.disks if each.mount == mount), None)
    if found is None:
        mounts = ", ".join(each.mount for each in snapshot.disks) or "none"
        raise UnknownSubjectError(f"there is no disk at {mount}; there are {mounts}")
    return found


_KINDS: dict[str, Callable[[_World, Any], None]] = {
    "add_work": _add_work,
    "end_process": _end_process,
    "resize": _resize,
    "free_disk": _free_disk,
}
