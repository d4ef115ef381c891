"""Containers of real images by podman, which needs no engine: with the network of one of them for all, and nothing of this machine's.

box = Containers()
box.run("coordinator", image, "--read-only", volume=folder)
box.run("agent", image, network_of="coordinator")
box.inside("coordinator", "weft", "agents", "list", "--json")
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Self

import pytest

_UNIFIED = Path("/sys/fs/cgroup/unified")


@functools.cache
def podman() -> tuple[str, ...]:
    """The command, as it works here."""
    found = shutil.which("podman")
    if found is None:
        pytest.skip("podman is not installed (Debian: apt install podman crun)")
    # crun takes control groups of version 1 or 2, and not both together.
    hybrid = _UNIFIED.is_dir() and os.geteuid() == 0
    alone = ("unshare", "--mount", "sh", "-c", f'umount {_UNIFIED}; exec "$@"', "sh") if hybrid else ()
    return (*alone, found)


class Containers:
    """Those of a test. Use as a context manager: at the end all are removed.

    Args:
        prefix: of their names.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self._names):
            subprocess.run(
                [*podman(), "rm", "--force", "--time", "0", name],
                capture_output=True,
                check=False,
                timeout=60,
            )

    def run(
        self, name: str, image: str, *words: str, options: tuple[str, ...] = (), network_of: str = ""
    ) -> None:
        """Start one as user 4711, whom the image does not know, on a read-only root without a temporary folder, and without capabilities.

        Args:
            words: in the place of the image's command.
            network_of: another one, whose network it has; its own has nothing but itself.
        """
        full = f"{self._prefix}-{name}"
        network = f"container:{self._prefix}-{network_of}" if network_of else "none"
        closed = [
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
        ]
        self._names.append(full)
        told = _told(
            ["run", "--detach", "--pull", "never", "--name", full, "--network", network, "--user", "4711:4711",
             *closed, *_limits(), *options, image, *words]
        )  # fmt: skip
        assert told.returncode == 0, told.stderr

    def inside(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in one."""
        return _told(["exec", f"{self._prefix}-{name}", *words])

    def signal(self, name: str, signal: str) -> None:
        """Send a signal to its process 1."""
        assert _told(["kill", "--signal", signal, f"{self._prefix}-{name}"]).returncode == 0

    def ended(self, name: str) -> int:
        """Wait for its end, and return its status."""
        return int(_told(["wait", f"{self._prefix}-{name}"]).stdout)

    def logs(self, name: str) -> str:
        told = _told(["logs", f"{self._prefix}-{name}"])
        return told.stdout + told.stderr


def need_containers(image: str) -> None:
    """Skip the test where no container of the image can run."""
    done = _told(["run", "--rm", "--pull", "never", "--network", "none", *_limits(), image, "version"])
    if done.returncode:
        pytest.skip(f"podman cannot run containers here: {done.stderr.strip()[-300:]}")


def _limits() -> list[str]:
    """Podman's own may be more than this process may give."""
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    return ["--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=4096:4096"]


def _told(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*podman(), *words], capture_output=True, text=True, check=False, timeout=90)
