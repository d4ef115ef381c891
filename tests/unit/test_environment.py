"""Where a process runs: cgroups of both versions, containers and pods, and values that somebody chose to do harm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.coordinator.identity.agent_binding import admit_agent
from weft.rpc.identity.caller import AGENT, Caller
from weft.rpc.identity.scope import ENVIRONMENT_LABELS, Scope
from weft.rpc.process.environment import NAMES, environment, read_environment
from weft.rpc.process.own_cgroup import OwnCgroup
from weft.v1 import session_pb2

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return root


CGROUPS: dict[str, tuple[dict[str, str], float | None, int | None, float | None]] = {
    "version 2, of a container": (
        {"own": "0::/\n", "m/cpu.max": "150000 100000\n", "m/memory.max": "1024\n", "m/cpu.stat": "nr_throttled 2\nthrottled_usec 1500000\n"},
        1.5,
        1024,
        1.5,
    ),
    "version 2, below a limit": (
        {
            "own": "0::/system.slice/weft.service\n",
            "m/system.slice/weft.service/cpu.max": "max 100000",
            "m/system.slice/weft.service/memory.max": "4096",
            "m/system.slice/cpu.max": "50000 100000",
            "m/system.slice/memory.max": "2048",
        },
        0.5,
        2048,
        None,
    ),
    "version 1": (
        {
            "own": f"4:memory:/docker/{ID}\n3:cpu,cpuacct:/docker/{ID}\n",
            f"m/memory/docker/{ID}/memory.limit_in_bytes": "1048576",
            "m/memory/memory.limit_in_bytes": str((1 << 63) - 4096),
            f"m/cpu/docker/{ID}/cpu.cfs_quota_us": "25000",
            f"m/cpu/docker/{ID}/cpu.cfs_period_us": "100000",
            f"m/cpu/docker/{ID}/cpu.stat": "nr_periods 1\nthrottled_time 2000000000\n",
        },
        0.25,
        1 << 20,
        2.0,
    ),
    "version 1, its own folder as the root": (
        {"own": f"4:memory:/docker/{ID}\n", "m/memory/memory.limit_in_bytes": "77"},
        None,
        77,
        None,
    ),
    "both": ({"own": "4:memory:/a\n0::/\n", "m/memory/a/memory.limit_in_bytes": "9", "m/unified/memory.max": "max"}, None, 9, None),
    "a way out": ({"own": "0::/../../x\n", "x/memory.max": "5", "m/memory.max": "6"}, None, 6, None),
    "garbage": (
        {"own": "\x00\udcff:::\n0:\n", "m/cpu.max": "-1 0", "m/memory.max": "9" * 4000, "m/cpu.stat": "throttled_usec many"},
        None,
        None,
        None,
    ),
    "zeros": ({"own": "0::/", "m/cpu.max": "0 0", "m/memory.max": ""}, None, None, None),
    "a period of zero": ({"own": "0::/", "m/cpu.max": "100000 0"}, 1.0, None, None),
    "nothing": ({}, None, None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CGROUPS)
def test_limits_are_read_from_the_own_cgroup_and_those_above(tmp_path: Path, name: str) -> None:
    files, cores, memory, throttled = CGROUPS[name]
    tree(tmp_path, files)
    found = OwnCgroup(tmp_path / "m", tmp_path / "own")
    assert (found.cpu_limit(), found.memory_limit(), found.throttled_s()) == (cores, memory, throttled)


@settings(max_examples=25)
@given(own=st.text(max_size=200), contents=st.text(max_size=200))
def test_no_contents_of_cgroups_raise(
    tmp_path_factory: pytest.TempPathFactory, own: str, contents: str
) -> None:
    root = tmp_path_factory.mktemp("cgroup", numbered=True)
    text = contents.encode("utf-8", "replace").decode()
    tree(
        root,
        {"own": own.encode("utf-8", "replace").decode()}
        | {f"m/{n}": text for n in ("cpu.max", "memory.max", "cpu.stat")},
    )
    found = OwnCgroup(root / "m", root / "own")
    for value in (found.cpu_limit(), found.memory_limit(), found.throttled_s()):
        assert value is None or value >= 0


CONTAINERS = {
    "docker, version 1": {"proc/self/cgroup": f"9:name=systemd:/docker/{ID}\n"},
    "docker, systemd": {"proc/self/cgroup": f"0::/system.slice/docker-{ID}.scope\n"},
    "containerd": {"proc/self/cgroup": f"0::/kubepods.slice/cri-containerd-{ID}.scope\n"},
    "kubernetes": {"proc/self/cgroup": f"4:cpu:/kubepods/burstable/pod3f/{ID}\n"},
    "version 2": {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": f"1 2 0:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw\n",
    },
    "podman": {"proc/self/mountinfo": f"1 2 0:1 /x/overlay-containers/{ID}/userdata/hosts /etc/hosts rw\n"},
    "the nearest": {"proc/self/cgroup": f"0::/docker-{OTHER}.scope/docker-{ID}.scope\n"},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_known_by_its_id(tmp_path: Path, name: str) -> None:
    assert read_environment(tree(tmp_path, CONTAINERS[name]), {})["container.id"] == ID


def test_a_pod_is_known_by_the_downward_api(tmp_path: Path) -> None:
    given = {"K8S_POD_NAME": "w-0", "K8S_NAMESPACE_NAME": "work", "K8S_NODE_NAME": "n1.example"}
    found = read_environment(tmp_path, given)
    assert {key: value for key, value in found.items() if key.startswith("k8s")} == {
        "k8s.pod.name": "w-0",
        "k8s.namespace.name": "work",
        "k8s.node.name": "n1.example",
    }
    files = {"var/run/secrets/kubernetes.io/serviceaccount/namespace": "other\n"}
    found = read_environment(tree(tmp_path, files), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert found["k8s.namespace.name"] == "other"
    assert "k8s.pod.name" not in found
    assert "k8s.namespace.name" not in read_environment(tmp_path, {})


@given(
    values=st.lists(
        st.one_of(st.text(max_size=400), st.just("a" * 5000), st.just("x,zone=eu"), st.just("\x1b[31m")),
        min_size=3,
        max_size=3,
    )
)
def test_hostile_values_are_left_out(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    given = dict(zip(("K8S_POD_NAME", "K8S_NAMESPACE_NAME", "K8S_NODE_NAME"), values, strict=True))
    found = read_environment(tmp_path_factory.getbasetemp() / "none", given)
    assert found.keys() <= set(NAMES)
    assert all(len(value) <= 253 and value.isascii() and value.isprintable() for value in found.values())
    assert not any(set(value) & set(',={}"') for value in found.values())


def test_this_process_has_one() -> None:
    assert environment()["os.type"] == ("windows" if sys.platform == "win32" else sys.platform)
    assert environment().keys() <= ENVIRONMENT_LABELS


class _Table:
    async def use(self, token_id: str, agent_id: str) -> None: ...


async def test_labels_of_the_environment_hold_only_if_the_token_grants_them() -> None:
    """They draw tasks by requirements; an agent that does not get them joins all the same."""
    labels = {"k8s.node.name": "n1", "container.id": ID, "zone": "eu"}
    for patterns, kept in (
        ((), {"k8s.node.name", "container.id", "zone"}),
        (("zone=*",), {"zone"}),
        (("zone=*", "k8s.node.name=n1"), {"zone", "k8s.node.name"}),
        (("zone=*", "k8s.node.name=n2"), {"zone"}),
    ):
        hello = session_pb2.Hello(agent_id="a", labels=labels)
        await admit_agent(_Table(), Caller(AGENT, Scope(labels=patterns), "t" * 12), hello)  # type: ignore[arg-type]
        assert set(hello.labels) == kept, patterns
