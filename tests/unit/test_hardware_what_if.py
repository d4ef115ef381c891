"""What would become of a machine: sums, and changes that name what is not there."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from tests.support.machine_samples import GIB, healthy
from weft.services.hardware.v1 import hardware_pb2
from weft.services.hardware.what_if import Prediction, UnknownSubjectError, predict


def what_if(*changes: dict[str, object], present: hardware_pb2.Snapshot | None = None) -> Prediction:
    parsed = [json_format.ParseDict(change, hardware_pb2.Change()) for change in changes]
    return predict(present or healthy(), parsed)


def test_work_that_fits() -> None:
    then = what_if({"add_work": {"cpu_cores": 1.0, "memory_bytes": 2 * GIB, "copies": 2}})
    assert (then.fits, then.speed_ratio) == (True, 1.0)
    assert then.snapshot.processor.use_ratio == pytest.approx(0.75)
    assert then.snapshot.memory.available_bytes == 8 * GIB
    assert then.reasons == ["The work adds 2.0 cores of load.", "The work takes 4.0 GiB of memory."]


def test_more_than_the_cores_makes_everything_slower() -> None:
    then = what_if({"add_work": {"cpu_cores": 7}})
    assert (then.fits, then.speed_ratio) == (True, 0.5)
    assert then.snapshot.processor.use_ratio == 1.0
    assert then.snapshot.processor.load_averages[0] == 8.0
    assert then.reasons[-1] == "Work wants 8.0 of 4 cores: it runs at 50 % of its speed."


@pytest.mark.parametrize(
    ("gib", "fits", "available", "swapped", "says"),
    [
        (12, True, 0, 0, "The work takes 12.0 GiB of memory."),
        (14, True, 0, 2, "2.0 GiB goes to swap space: what waits for it is slow."),
        (17, False, 0, 4, "1.0 GiB of memory is missing: the kernel would kill a process."),
    ],
)
def test_memory_goes_first_then_swap_space(
    gib: int, fits: bool, available: int, swapped: int, says: str
) -> None:
    then = what_if({"add_work": {"memory_bytes": gib * GIB}})
    memory = then.snapshot.memory
    assert (then.fits, memory.available_bytes, memory.used_swap_bytes) == (fits, available, swapped * GIB)
    assert then.reasons[-1] == says


def test_the_limits_of_the_control_group() -> None:
    present = healthy()
    present.control_group.cpu_limit_cores = 1.0
    present.control_group.memory_limit_bytes, present.control_group.used_memory_bytes = 2 * GIB, GIB
    then = what_if({"add_work": {"cpu_cores": 2, "memory_bytes": 3 * GIB // 2}}, present=present)
    assert (then.fits, then.speed_ratio) == (False, 0.5)
    assert then.snapshot.control_group.throttled_ratio == 0.5
    assert any("512 MiB beyond the limit of the agent's control group" in each for each in then.reasons)
    raised = {"resize": {"memory_limit_bytes": 4 * GIB, "cpu_limit_cores": 2.0}}
    then = what_if(raised, {"add_work": {"cpu_cores": 2, "memory_bytes": 3 * GIB // 2}}, present=present)
    assert (then.fits, then.speed_ratio) == (True, 1.0)


def test_the_end_of_a_process() -> None:
    then = what_if({"end_process": {"process_id": 7}})
    assert then.snapshot.processor.use_ratio == pytest.approx(0.125)
    assert then.snapshot.memory.available_bytes == 14 * GIB
    assert (len(then.snapshot.processes), then.snapshot.process_count) == (0, 49)


def test_another_size() -> None:
    then = what_if({"resize": {"logical_cores": 2, "memory_bytes": 3 * GIB}})
    assert then.snapshot.processor.use_ratio == pytest.approx(0.5)
    assert (then.fits, then.snapshot.memory.available_bytes) == (False, 0)
    assert then.reasons[-1] == "1.0 GiB of memory is missing for what runs."


def test_disks_and_gpus() -> None:
    present = healthy()
    present.gpus.add(number=0, memory_bytes=10 * GIB, used_memory_bytes=4 * GIB)
    fits = what_if({"add_work": {"disk_bytes": 60 * GIB, "gpu_memory_bytes": 6 * GIB}}, present=present)
    assert fits.fits
    then = what_if(
        {"free_disk": {"freed_bytes": 10 * GIB}},
        {"add_work": {"disk_bytes": 71 * GIB, "gpu_memory_bytes": 7 * GIB}},
        present=present,
    )
    assert not then.fits
    assert "1.0 GiB is missing at /: writes would fail." in then.reasons
    assert "1.0 GiB is missing at GPU 0: it would not load." in then.reasons
    assert present.disks[0].used_bytes == 40 * GIB  # The present stays as it is.


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"end_process": {"process_id": 8}}, "there is no process 8"),
        ({"free_disk": {"mount": "/data", "freed_bytes": 1}}, "there is no disk at /data; there are /"),
        ({"add_work": {"disk_bytes": 1, "mount": "/x"}}, "there is no disk at /x"),
        ({"add_work": {"gpu_memory_bytes": 1, "gpu": 3}}, "there is no GPU 3; there are 0"),
    ],
)
def test_what_is_not_there(change: dict[str, object], says: str) -> None:
    with pytest.raises(UnknownSubjectError, match=says):
        what_if(change)


def test_a_machine_that_tells_nothing() -> None:
    then = predict(hardware_pb2.Snapshot(), [hardware_pb2.Change(add_work={"cpu_cores": 1})])
    assert then.reasons[-1] == "The machine does not tell its cores: its speed is not reckoned."
