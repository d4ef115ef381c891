"""What is suggested, from which samples on, and what is not: a table for the rules, and growth of processes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.machine_samples import GIB, Change, changed, healthy
from weft.services.hardware.growth import LEAST_SAMPLES, growing
from weft.services.hardware.suggestions import suggest
from weft.services.hardware.thresholds import Bounds, bounds_of
from weft.services.hardware.v1 import hardware_pb2

WARNING, CRITICAL = hardware_pb2.SEVERITY_WARNING, hardware_pb2.SEVERITY_CRITICAL
MIB = 1 << 20


def put(path: str, *values: float) -> Change:
    """Sets a field by its path, such as "disks.0.used_bytes"; a list field by all values."""

    def change(sample: hardware_pb2.Snapshot) -> None:
        *parents, last = path.split(".")
        target = sample
        for part in parents:
            target = target[int(part)] if part.isdecimal() else getattr(target, part)
        if len(values) > 1:
            getattr(target, last)[:] = values
        else:
            setattr(target, last, values[0])

    return change


# Topic, severity, subject and a part of the reason, of what is suggested when these things are so.
CASES: dict[str, tuple[tuple[Change, ...], tuple[str, int, str, str] | None]] = {
    "in good order": ((), None),
    "memory below": ((put("memory.available_bytes", 2 * GIB),), None),
    "memory": (
        (put("memory.available_bytes", GIB),),
        ("MEMORY_FULL", WARNING, "", "94 % of 16.0 GiB of memory is used; 1.0 GiB is left."),
    ),
    "no memory": ((put("memory.available_bytes", 100 * MIB),), ("MEMORY_FULL", CRITICAL, "", "99 %")),
    "waits for memory": (
        (put("memory.pressure.some_ratio_60s", 0.2),),
        ("MEMORY_PRESSURE", WARNING, "", "waited for memory in 20 % of the last minute"),
    ),
    "all wait for memory": (
        (put("memory.pressure.some_ratio_60s", 0.4), put("memory.pressure.full_ratio_60s", 0.3)),
        ("MEMORY_PRESSURE", CRITICAL, "", "all of them in 30 %"),
    ),
    "swap": ((put("memory.used_swap_bytes", 2 * GIB),), ("SWAP_USED", WARNING, "", "50 % of 4.0 GiB")),
    "no swap space": ((put("memory.swap_bytes", 0),), None),
    "swapping": (
        (put("memory.swapped_in_bytes_per_s", 3 * MIB), put("memory.swapped_out_bytes_per_s", MIB)),
        ("SWAPPING", CRITICAL, "", "4.0 MiB a second"),
    ),
    "full cores": (
        (put("processor.use_ratio", 0.97), put("processor.core_ratios", 0.97, 0.97, 0.97, 0.97)),
        ("CORES_FULL", WARNING, "", "All 4 cores are used for 97 % of the time; 1.0 processes"),
    ),
    "cores that many want": (
        (put("processor.use_ratio", 1.0), put("processor.load_averages", 40, 30, 20)),
        ("CORES_FULL", CRITICAL, "", "40.0 processes want them"),
    ),
    "a hot core": (
        (put("processor.use_ratio", 0.28), put("processor.core_ratios", 0.05, 0.99, 0.05, 0.05)),
        ("HOT_CORE", WARNING, "core 1", "Core 1 is used for 99 % of the time, all together for 28 %."),
    ),
    "two busy cores of four": (
        (put("processor.use_ratio", 0.75), put("processor.core_ratios", 0.5, 0.99, 0.99, 0.5)),
        None,
    ),
    "a stolen core": ((put("processor.stolen_ratio", 0.2),), ("CPU_STOLEN", WARNING, "", "took 20 %")),
    "hot": (
        (put("processor.temperature_celsius", 88),),
        ("TEMPERATURE", WARNING, "processor", "The processor has 88 °C."),
    ),
    "very hot": ((put("processor.temperature_celsius", 99),), ("TEMPERATURE", CRITICAL, "processor", "99")),
    "a disk": (
        (put("disks.0.used_bytes", 91 * GIB),),
        ("DISK_FULL", WARNING, "/", "91 % of 100 GiB at / are used; 9.0 GiB are left."),
    ),
    "a full disk": ((put("disks.0.used_bytes", 100 * GIB),), ("DISK_FULL", CRITICAL, "/", "0 B are left")),
    "a disk of no size": ((put("disks.0.size_bytes", 0),), None),
    "files": ((put("disks.0.used_files", 980),), ("FILES_FULL", CRITICAL, "/", "98 % of the 1000 files")),
    "waits for disks": (
        (put("disk_pressure.some_ratio_60s", 0.5), put("disks.0.busy_ratio", 0.9)),
        ("DISK_PRESSURE", WARNING, "", "The busiest is /."),
    ),
    "errors": (
        (put("interfaces.0.errors_per_s", 5),),
        ("INTERFACE_ERRORS", WARNING, "eth0", "eth0 has 5.0 packets with errors a second"),
    ),
    "a noisy process with room": ((put("processes.0.cpu_cores", 3),), None),
    "throttled": (
        (put("control_group.throttled_ratio", 0.2), put("control_group.cpu_limit_cores", 0.5)),
        ("THROTTLED", WARNING, "", "for 20 % of the time, by its limit of 0.5 cores"),
    ),
    "near the limit": (
        (put("control_group.memory_limit_bytes", GIB), put("control_group.used_memory_bytes", 980 * MIB)),
        ("GROUP_MEMORY", WARNING, "", "uses 96 % of the 1.0 GiB"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule(name: str) -> None:
    changes, wanted = CASES[name]
    found = suggest(changed(*changes, samples=3), Bounds())
    if wanted is None:
        assert found == []
        return
    (one,) = found
    topic, severity, subject, reason = wanted
    assert hardware_pb2.Topic.Name(one.topic) == f"TOPIC_{topic}"
    assert (one.severity, one.subject) == (severity, subject)
    assert reason in one.reason
    assert one.advice.endswith(".")
    assert one.measured >= one.threshold


def test_a_noisy_process_where_nothing_is_left() -> None:
    full = (put("processor.use_ratio", 0.93), put("processes.0.cpu_cores", 2.5))
    (one,) = suggest(changed(*full, samples=2), Bounds())
    assert one.subject == "process 7 (serveD)"
    assert one.reason == "The process 7 (serveD) uses 2.5 of 4 cores, and 7 % are free."


def test_the_worst_comes_first_and_a_large_process_is_named() -> None:
    low = (put("memory.available_bytes", 10 * MIB), put("processes.0.memory_bytes", 12 * GIB))
    found = suggest(changed(*low), Bounds())
    assert [hardware_pb2.Topic.Name(each.topic) for each in found] == [
        "TOPIC_MEMORY_FULL",
        "TOPIC_LARGE_PROCESS",
    ]
    assert "Most is used by process 7 (serveD), 12.0 GiB" in found[0].advice


def test_a_moment_is_no_finding() -> None:
    """One busy sample of many: the mean counts."""
    busy = [*changed(samples=9), *changed(put("processor.use_ratio", 1.0))]
    assert suggest(busy, Bounds()) == []


def test_a_kill_for_want_of_memory_is_critical() -> None:
    before, after = changed(put("control_group.memory_limit_bytes", GIB), samples=2)
    before.control_group.memory_kills, after.control_group.memory_kills = 3, 4
    (one,) = suggest([before, after], Bounds())
    assert one.severity == CRITICAL
    assert "has killed something" in one.reason


def test_gpus() -> None:
    sample = healthy()
    sample.gpus.add(number=1, name="A100", memory_bytes=40 * GIB, used_memory_bytes=39 * GIB)
    sample.gpus[0].temperature_celsius = 90
    found = {each.topic: each for each in suggest([sample], Bounds())}
    assert found[hardware_pb2.TOPIC_GPU_MEMORY].subject == "GPU 1"
    assert found[hardware_pb2.TOPIC_TEMPERATURE].reason == "The GPU 1 has 90 °C."


def test_thresholds_are_those_of_the_request() -> None:
    given_ = bounds_of(hardware_pb2.Thresholds(disk_ratio=0.4, memory_ratio=0.0))
    assert (given_.disk_ratio, given_.memory_ratio, given_.cpu_ratio) == (0.4, 0.0, 0.95)
    topics = {each.topic for each in suggest([healthy()], given_)}
    assert topics == {hardware_pb2.TOPIC_DISK_FULL, hardware_pb2.TOPIC_MEMORY_FULL}
    # Each field has a default.
    assert {each.name for each in hardware_pb2.Thresholds.DESCRIPTOR.fields} == set(Bounds.__slots__)


def grown(sizes: list[float], every_s: float = 15.0) -> list[hardware_pb2.Snapshot]:
    """Samples in which process 7 has these sizes, in MiB."""
    found = changed(samples=len(sizes), every_s=every_s)
    for sample, size in zip(found, sizes, strict=True):
        sample.processes[0].memory_bytes = int(size * MIB)
    return list(found)


@pytest.mark.parametrize(
    ("sizes", "every_s", "mib_per_hour"),
    [
        ([100, 110, 120, 130, 140, 150], 15, 2400),
        ([100, 110, 120, 119, 140, 150, 161, 170], 15, 2400),
        # It has filled a cache, and stopped.
        ([100, 200, 300, 400, 401, 402, 403, 404], 15, 0),
        # A saw's teeth: garbage is collected.
        ([100, 150, 100, 150, 100, 150, 100, 151], 15, 0),
        ([100] * 20, 15, 0),
        # Too short, too few.
        ([100, 110, 120, 130, 140, 150], 5, 0),
        ([100, 110, 120, 130], 60, 0),
        ([150, 140, 130, 120, 110, 100], 15, 0),
    ],
)
def test_growth(sizes: list[float], every_s: float, mib_per_hour: float) -> None:
    found = list(growing(grown(sizes, every_s), MIB))
    if not mib_per_hour:
        assert found == []
        return
    ((process, per_hour),) = found
    assert process.process_id == 7
    assert per_hour / MIB == pytest.approx(mib_per_hour, rel=0.05)


def test_a_leak_says_when_memory_is_full() -> None:
    samples = grown([2000 + 10 * number for number in range(10)])
    (one,) = suggest(samples, Bounds())
    assert one.topic == hardware_pb2.TOPIC_LEAK
    assert one.reason == "The process 7 (serveD) grows by 2.3 GiB an hour, and has 2.0 GiB."
    assert "memory is full in 5.1 hours" in one.advice


def test_another_process_with_the_same_number_is_another_one() -> None:
    samples = grown([100, 110, 120, 130, 140, 150])
    for sample in samples[3:]:
        sample.processes[0].started_at.FromSeconds(900)
    assert LEAST_SAMPLES > 3
    assert list(growing(samples, MIB)) == []


def test_a_process_that_has_ended_does_not_leak() -> None:
    samples = [*grown([100, 110, 120, 130, 140, 150]), healthy(2000)]
    samples[-1].processes.pop()
    assert list(growing(samples, MIB)) == []


numbers = st.one_of(st.floats(0, 1), st.floats(0, 1e18), st.just(0.0))


@given(st.lists(st.lists(numbers, min_size=12, max_size=12), min_size=0, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_sample_breaks_the_rules(rows: list[list[float]]) -> None:
    """Machines tell anything: more used than there is, no cores, nothing at all."""
    samples = []
    for number, row in enumerate(rows):
        sample = hardware_pb2.Snapshot()
        sample.read_at.FromSeconds(number * 30)
        sample.processor.use_ratio, sample.processor.stolen_ratio = row[0], row[1]
        sample.processor.logical_cores = int(row[2]) % 5
        sample.processor.core_ratios.extend(row[3 : 3 + number])
        sample.memory.size_bytes, sample.memory.available_bytes = int(row[4]), int(row[5])
        sample.memory.swap_bytes, sample.memory.used_swap_bytes = int(row[6]), int(row[7])
        sample.disks.add(mount="/", size_bytes=int(row[8]), used_bytes=int(row[9]))
        sample.gpus.add(memory_bytes=int(row[10]), used_memory_bytes=int(row[11]))
        sample.interfaces.add(name="a" if number else "b", errors_per_s=row[0])
        sample.processes.add(process_id=1, cpu_cores=row[1], memory_bytes=int(row[2]))
        samples.append(sample)
    for each in suggest(samples, Bounds()):
        assert each.reason
        assert each.measured >= each.threshold
