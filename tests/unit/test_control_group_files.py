"""Control groups of version 2: the files that are written and read, in a folder that is none. What the kernel makes of them is not tested here."""

from __future__ import annotations

from pathlib import Path

from weft.agent import Sandbox
from weft.agent.sandboxing.control_group import CONTROLLERS, ControlGroup, find_folders

MOUNTS = (
    "24 23 0:21 / /sys rw shared:7 - sysfs sysfs rw\n"
    "29 24 0:26 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
)


def test_limits_are_written_and_use_is_read(tmp_path: Path) -> None:
    group = ControlGroup(dict.fromkeys(CONTROLLERS, tmp_path), 2)
    group.limit(Sandbox(memory_mb=64, cpus=0.5, max_processes=20))
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "memory.oom.group": "0",
        "pids.max": "23",
        "cpu.max": "50000 100000",
    }
    # Nothing is known yet.
    assert (group.memory_bytes(), group.killed_for_memory(), group.cpu_s()) == (0, 0, -1.0)
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n")
    assert (group.memory_bytes(), group.killed_for_memory(), group.cpu_s()) == (4096, 3, 1.5)
    group.add(42)
    assert group.processes() == [42]


def test_only_what_is_given_is_limited(tmp_path: Path) -> None:
    ControlGroup({"pids": tmp_path}, 2).limit(Sandbox())
    assert [each.name for each in tmp_path.iterdir()] == ["pids.max"]


def test_the_own_folder_is_found() -> None:
    own = "0::/system.slice/weft.service/agent\n"
    found = find_folders(MOUNTS.format(root="/"), own, 2)
    assert found == dict.fromkeys(CONTROLLERS, Path("/sys/fs/cgroup/system.slice/weft.service/agent"))
    # A container's mount begins at its own group.
    inside = find_folders(MOUNTS.format(root="/docker/1"), "0::/docker/1\n", 2)
    assert inside == dict.fromkeys(CONTROLLERS, Path("/sys/fs/cgroup"))
    assert find_folders(MOUNTS.format(root="/"), own, 1) == {}
