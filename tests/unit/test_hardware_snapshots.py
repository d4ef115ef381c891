"""Snapshots of this machine, of one that hides everything, and of one with GPUs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from weft.rpc.process import host_readings
from weft.services.hardware import counters, snapshots
from weft.services.hardware.counters import CoreTimes, Counters, ProcessCounts, read_counters
from weft.services.hardware.pressure import parse_pressure, read_pressure
from weft.services.hardware.snapshots import make_snapshot


def test_a_snapshot_has_what_this_machine_tells() -> None:
    before = read_counters()
    end_s = time.monotonic() + 0.2
    while time.monotonic() < end_s:
        os.getpid()  # This process works.
    made = make_snapshot(before, 100, "a1")[0]

    assert made.host.agent_id == "a1"
    assert made.host.kernel == os.uname().release
    assert len(made.processor.core_ratios) == made.processor.logical_cores == psutil.cpu_count()
    assert 0 < made.processor.use_ratio <= 1
    assert 0 < made.memory.available_bytes < made.memory.size_bytes == psutil.virtual_memory().total
    (root,) = (disk for disk in made.disks if disk.mount == "/")
    assert 0 < root.used_bytes < root.size_bytes
    assert all(each.name != "lo" for each in made.interfaces)
    own = next(each for each in made.processes if each.process_id == os.getpid())
    assert own.cpu_cores > 0
    assert own.memory_bytes > 1 << 20
    assert made.process_count >= len(made.processes)
    assert made.measured_over.ToMilliseconds() >= 200


def test_no_argument_of_a_process_is_told(tmp_path: Path) -> None:
    """A secret in the arguments of a process is nowhere in a snapshot."""
    code = "import sys; x = bytearray(200_000_000); print(1, flush=True); sys.stdin.read()"
    with psutil.Popen(["python3", "-c", code, "--password=hunter2"], stdin=-1, stdout=-1) as child:
        try:
            child.stdout.readline()
            made = make_snapshot(read_counters(), 100, "a1")[0]
            assert child.pid in {each.process_id for each in made.processes}
            assert b"hunter2" not in made.SerializeToString()
        finally:
            child.kill()


def test_a_machine_that_hides_everything_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*_: object, **__: object) -> Any:
        raise PermissionError("/proc")

    for name in dir(psutil):
        if callable(getattr(psutil, name)) and name.islower() and not name.startswith("_"):
            monkeypatch.setattr(psutil, name, hidden)
    monkeypatch.setattr(snapshots, "read_pressure", hidden)
    made = make_snapshot(read_counters(), 5, "a1")[0]
    assert {"processor", "memory", "disks", "processes", "memory.pressure"} <= set(made.hidden)
    assert made.host.agent_id == "a1"


def test_rates_are_those_of_the_time_between(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Counters(), Counters()
    before.at_s, after.at_s = 100.0, 102.0
    # Two cores: 2 s each, of which the first worked for 1.5 s and waited for disks for 0.3 s.
    before.cores = [CoreTimes(50, 40, 1, 0), CoreTimes(50, 40, 1, 0)]
    after.cores = [CoreTimes(52, 40.2, 1.3, 0.1), CoreTimes(52, 42, 1, 0)]
    before.swapped, after.swapped = (1000, 0), (5000, 0)
    before.partitions = [host_readings.Partition("/dev/a", "/a", 100, 50, 1000, 5000, "ext4", 10.0)]
    after.partitions = [host_readings.Partition("/dev/a", "/a", 100, 50, 3000, 100, "ext4", 11.0)]
    before.throttled_s, after.throttled_s = 1.0, 1.5
    number = os.getpid()
    key = (number, psutil.Process(number).create_time())
    before.processes, after.processes = {key: ProcessCounts(5, 10)}, {key: ProcessCounts(8, 20)}
    monkeypatch.setattr(snapshots, "read_counters", lambda: after)
    made = make_snapshot(before, 1, "a1")[0]

    assert list(made.processor.core_ratios) == pytest.approx([0.75, 0.0])
    assert made.processor.use_ratio == pytest.approx(0.375)
    assert made.processor.io_wait_ratio == pytest.approx(0.075)
    assert made.processor.stolen_ratio == pytest.approx(0.025)
    assert made.memory.swapped_in_bytes_per_s == 2000
    (disk,) = made.disks
    # What was written is less than before: the counter began anew.
    assert (disk.read_bytes_per_s, disk.written_bytes_per_s, disk.busy_ratio) == (1000, 0, 0.5)
    assert made.control_group.throttled_ratio == 0.25
    (process,) = made.processes
    assert process.cpu_cores == 1.5


def test_work_is_bounded_on_a_machine_with_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    own = psutil.Process()
    monkeypatch.setattr(counters, "MOST_PROCESSES", 3)
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([own] * 50))
    found = read_counters()
    assert (found.process_count, len(found.processes)) == (50, 1)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "some avg10=1.50 avg60=0.87 avg300=0.38 total=12345\nfull avg10=0.50 avg60=0.25 avg300=0.00 total=1\n",
            (0.015, 0.0087, 0.005, 0.0025),
        ),
        ("some avg10=100.00 avg60=0.00 avg300=0.00 total=5\n", (1.0, 0.0, 0.0, 0.0)),
        ("", None),
        ("some\n", None),
        ("some avg10=x avg60=1\n", None),
        ("some avg10=nan avg60=1\n", None),
    ],
)
def test_pressure(text: str, wanted: tuple[float, ...] | None) -> None:
    if wanted is None:
        with pytest.raises(ValueError):
            parse_pressure(text)
        return
    found = parse_pressure(text)
    assert (
        found.some_ratio_10s,
        found.some_ratio_60s,
        found.full_ratio_10s,
        found.full_ratio_60s,
    ) == pytest.approx(wanted)


def test_a_kernel_without_pressure(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_pressure("cpu", tmp_path)


class RecordedNvml:
    """What NVIDIA's library answered on a machine with an A100 and a card that measures no power."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    @staticmethod
    def nvmlDeviceGetCount() -> int:
        return 2

    @staticmethod
    def nvmlDeviceGetHandleByIndex(number: int) -> int:
        return number

    @staticmethod
    def nvmlDeviceGetName(handle: int) -> str | bytes:
        return "NVIDIA A100-SXM4-40GB" if handle == 0 else b"Tesla K80"

    @staticmethod
    def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=42949672960, used=10737418240, free=32212254720)

    @staticmethod
    def nvmlDeviceGetUtilizationRates(handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=87, memory=40)

    @staticmethod
    def nvmlDeviceGetTemperature(handle: int, sensor: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return 251337

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return self.nvmlDeviceGetPowerUsage(handle)


def test_gpus_as_their_library_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_readings, "_nvidia", RecordedNvml)
    made = make_snapshot(Counters(), 0, "a1")[0]
    first, second = made.gpus
    assert (first.name, first.use_ratio, first.used_memory_bytes) == (
        "NVIDIA A100-SXM4-40GB",
        0.87,
        10737418240,
    )
    assert (first.temperature_celsius, first.power_watts) == (61, 251.337)
    assert (second.number, second.name, second.power_watts) == (1, "Tesla K80", 0)
    assert "gpus" not in made.hidden


def test_a_driver_that_fails_costs_the_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(RecordedNvml):
        @staticmethod
        def nvmlDeviceGetCount() -> int:
            raise RecordedNvml.NVMLError("GPU is lost")

    monkeypatch.setattr(host_readings, "_nvidia", Lost)
    made = make_snapshot(read_counters(), 0, "a1")[0]
    assert "gpus" in made.hidden
    assert made.memory.size_bytes > 0
