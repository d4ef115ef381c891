"""The containers of a Docker engine, as the engine tells them. Never their commands, variables or labels, which may have secrets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from weft.services.hardware.outside import OutsideError
from weft.services.hardware.v1 import hardware_pb2

MOST = 500
# Engines measure each for a second or two; so many at a time.
_AT_A_TIME = 16
_LIST_S = 10.0
_USAGE_S = 20.0
_SOCKET = "unix:///var/run/docker.sock"


async def list_containers(*, every: bool, usage: bool) -> hardware_pb2.ListContainersResponse:
    """The containers, by name.

    Args:
        every: also those that do not run.
        usage: also what running ones use.

    Raises:
        OutsideError: the package is missing, or no engine answers.
    """
    try:
        import aiodocker
    except ImportError:
        raise OutsideError.missing("aiodocker") from None
    url = os.environ.get("DOCKER_HOST", _SOCKET)
    try:
        async with aiodocker.Docker(url=url) as engine:
            async with asyncio.timeout(_LIST_S):
                found = await engine.containers.list(all="1" if every else "0")
            made = sorted(((container_of(each), each) for each in found), key=lambda pair: pair[0].name)
            kept = made[:MOST]
            if usage:
                await _measure([pair for pair in kept if pair[0].state == "running"])
    except Exception as error:
        raise OutsideError.silent(f"the Docker engine at {url}", error) from error
    return hardware_pb2.ListContainersResponse(
        containers=[container for container, _ in kept], left_out=len(made) - len(kept)
    )


async def _measure(running: list[tuple[hardware_pb2.Container, Any]]) -> None:
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def measure(container: hardware_pb2.Container, told: Any) -> None:
        # One may end meanwhile: then it has no usage.
        async with turns:
            try:
                (stats,) = await told.stats(stream=False)
                container.usage.CopyFrom(usage_of(stats))
            except Exception:
                container.ClearField("usage")

    async with asyncio.timeout(_USAGE_S):
        await asyncio.gather(*(measure(*each) for each in running))


def container_of(told: Any) -> hardware_pb2.Container:
    """A container, as the list of the engine has it."""
    names = told["Names"]
    made = hardware_pb2.Container(
        id=told["Id"],
        name=names[0].removeprefix("/") if names else told["Id"][:12],
        image=told["Image"],
        state=told["State"],
        status=told["Status"],
    )
    made.created_at.FromSeconds(int(told["Created"]))
    return made


def usage_of(stats: Mapping[str, Any]) -> hardware_pb2.ContainerUsage:
    """What a container uses, from two measurements of the engine.

    Raises:
        KeyError: the engine does not tell it.
    """
    now, before = stats["cpu_stats"], stats["precpu_stats"]
    used_ns = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    # Time of all cores together.
    passed_ns = now["system_cpu_usage"] - before["system_cpu_usage"]
    memory = stats["memory_stats"]
    figures = memory.get("stats", {})
    dropped = figures.get("inactive_file", figures.get("total_inactive_file", 0))
    return hardware_pb2.ContainerUsage(
        cpu_cores=max(0.0, used_ns / passed_ns) * now.get("online_cpus", 1) if passed_ns > 0 else 0.0,
        memory_bytes=max(0, memory["usage"] - dropped),
        memory_limit_bytes=memory.get("limit", 0),
        tasks=stats.get("pids_stats", {}).get("current", 0),
    )
