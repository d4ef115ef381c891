"""A Compose file as processes of this machine: each service's own command, variables and health check, in the order of `depends_on`.

What a container would have of its own is given as far as processes can: the entry point, command, variables and working folder come from the Dockerfile's stage
and then from the service; a volume is a folder, whose path stands wherever the text names its mount; `NAME:PORT`, `0.0.0.0:PORT` and `127.0.0.1:PORT` become ports of
127.0.0.1 that are free. Users, read-only file systems and capabilities are the engine's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import yaml

from tests.support.processes import ROOT, Process, environment
from tests.support.redis_server import free_port

_CHECK_S = 60.0


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a Dockerfile's stage says about its container."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


def stages() -> dict[str, Stage]:
    """Those of the project's Dockerfile by name."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, Stage] = {}
    stage, name = Stage(), ""
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = found.get(base.split()[-1], Stage())
        elif word == "ENV":
            pairs = tuple(tuple(pair.split("=", 1)) for pair in shlex.split(rest))
            stage = dataclasses.replace(stage, env=(*stage.env, *pairs))  # type: ignore[arg-type]
        elif word in ("ENTRYPOINT", "CMD"):
            words = tuple(yaml.safe_load(rest))
            stage = dataclasses.replace(stage, **{"entrypoint" if word == "ENTRYPOINT" else "command": words})
        found[name] = stage
    return found


class ComposeProject:
    """The services of a file, once started. Use as a context manager.

    Args:
        path: the file.
        folder: for volumes and logs.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.services: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
        self._folder = folder
        self._stages = stages()
        # By the service whose network it is, which of its containers, and the port in there.
        self._ports: dict[tuple[str, int, int], int] = {}
        self.processes: dict[str, list[Process]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (process for each in self.processes.values() for process in each):
            process.cleanup()

    def address(self, service: str, port: int, replica: int = 0) -> str:
        """Where a port of a service is here."""
        place = self._network(service), replica, port
        if place not in self._ports:
            self._ports[place] = free_port()
        return f"127.0.0.1:{self._ports[place]}"

    async def start(self) -> None:
        """Start all, each when what it depends on is so far, until all are healthy."""
        waiting = dict(self.services)
        while waiting:
            ready = [name for name in waiting if not set(self._needs(name)) & set(waiting)]
            assert ready, f"{sorted(waiting)} depend on one another"
            for name in ready:
                del waiting[name]
                for other, condition in self._needs(name).items():
                    await self.reached(other, condition)
                self.launch(name)
        for name, service in self.services.items():
            if "healthcheck" in service:
                await self.reached(name, "service_healthy")

    async def stop(self) -> dict[str, list[int]]:
        """SIGTERM to each service before those that it depends on: the exit statuses."""
        statuses: dict[str, list[int]] = {}
        left = dict(self.services)
        while left:
            needed = {other for name in left for other in self._needs(name)}
            for name in [name for name in left if name not in needed]:
                grace_s = float(str(left.pop(name).get("stop_grace_period", "10s")).removesuffix("s"))
                running = [process for process in self.processes[name] if process.alive]
                statuses[name] = await asyncio.gather(
                    *(each.terminate(timeout_s=grace_s) for each in running)
                )
        return statuses

    def healthy(self, name: str, replica: int = 0) -> bool:
        """Whether the service's check says so now."""
        check = self.services[name]["healthcheck"]["test"]
        kind, *words = check
        words = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words
        done = subprocess.run(
            [self._here(name, word, replica) for word in words],
            env=self._env(name, replica),
            cwd=self._cwd(name, replica),
            check=False,
            capture_output=True,
            timeout=_CHECK_S,
        )
        return done.returncode == 0

    def _needs(self, name: str) -> dict[str, str]:
        needs = self.services[name].get("depends_on", {})
        if isinstance(needs, list):
            return dict.fromkeys(needs, "service_started")
        return {other: each["condition"] for other, each in needs.items()}

    async def reached(self, name: str, condition: str) -> None:
        if condition == "service_completed_successfully":
            for process in self.processes[name]:
                assert await process.wait() == 0, process.output()
        elif condition == "service_healthy":
            for replica, process in enumerate(self.processes[name]):
                for _ in range(60):
                    if await asyncio.to_thread(self.healthy, name, replica):
                        break
                    assert process.alive, process.output()
                    await asyncio.sleep(0.2)
                else:
                    raise AssertionError(f"{name} is not healthy\n{process.output()}")

    def launch(self, name: str) -> None:
        replicas = self.services[name].get("deploy", {}).get("replicas", 1)
        self.processes[name] = [
            Process(
                f"{name}-{replica}",
                self._argv(name, replica),
                log=self._folder / f"{name}-{replica}.log",
                env=self._env(name, replica),
            )
            for replica in range(replicas)
        ]

    def _argv(self, name: str, replica: int) -> list[str]:
        service, stage = self.services[name], self._stage(name)
        entrypoint = service.get("entrypoint", stage.entrypoint)
        words = [
            self._here(name, word, replica) for word in (*entrypoint, *service.get("command", stage.command))
        ]
        folder = self._cwd(name, replica)
        if words[0] == "redis-server":
            words += ["--port", self.address(name, 6379).partition(":")[2]]
        return ["env", "--chdir", str(folder), *words]

    def _stage(self, name: str) -> Stage:
        build = self.services[name].get("build")
        return Stage() if build is None else self._stages[build["target"]]

    def _env(self, name: str, replica: int) -> dict[str, str]:
        given = dict(self._stage(name).env) | self.services[name].get("environment", {})
        own = {
            key: self._here(name, str(value), replica)
            for key, value in given.items()
            if key not in ("PATH", "PYTHONPATH")
        }
        # The image's programs are those of this environment, and its /app is this checkout.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        found = environment(own | {"PATH": path, "HOSTNAME": f"{name}-{replica}"})
        found["PYTHONPATH"] = str(ROOT)
        return found

    def _network(self, name: str) -> str:
        mode = str(self.services[name].get("network_mode", ""))
        return mode.removeprefix("service:") if mode.startswith("service:") else name

    def _cwd(self, name: str, replica: int) -> Path:
        folder = Path(self._mounts(name).get("/var/lib/weft", self._folder / f"{name}-{replica}"))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _mounts(self, name: str) -> dict[str, str]:
        mounts = {}
        for volume in self.services[name].get("volumes", []):
            source, target, *_ = volume.split(":")
            folder = self._folder / "volumes" / source
            folder.mkdir(parents=True, exist_ok=True)
            mounts[target] = str(folder)
        return mounts

    def _here(self, name: str, text: str, replica: int) -> str:
        """The text of a service as it must be on this machine."""
        for target, folder in self._mounts(name).items():
            text = re.sub(rf"(?<![\w/]){re.escape(target)}(?![\w-])", folder, text)
        names = "|".join(map(re.escape, (*self.services, "0.0.0.0", "127.0.0.1")))

        def port(found: re.Match[str]) -> str:
            if found["host"] in ("0.0.0.0", "127.0.0.1"):
                return self.address(name, int(found["port"]), replica)
            return self.address(found["host"], int(found["port"]))

        return re.sub(rf"(?<![\w.-])(?P<host>{names}):(?P<port>\d+)\b", port, text)
