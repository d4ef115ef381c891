"""The provider `docker`: a sandbox is a container of a Docker engine, which DOCKER_HOST names; an image with python3 is all that it needs.

Its root is read-only, and what is written is in memory: so the limit of disk holds with each storage driver, where `StorageOpt` needs one with quotas.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import aiodocker
import grpc

from weft.agent import Sandbox
from weft.services.sandboxes.remote_box import LEASE_S, READY_S, RemoteBox
from weft.services.sandboxes.remote_piece import PROCESS_ENDED, box_variables, first_argv
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.services.sandboxes.settings import SandboxesSettings

LABEL = "weft.sandbox"
USER = "1000:1000"
_SOCKET = "unix:///var/run/docker.sock"
# What aiodocker says when it has no connection.
_UNREACHED = 900
_PULL_S = 600.0
# From the end of a program's output to its own.
_STATUS_S = 30.0
_SHARED_BYTES = 16 << 20
# Of process 1, the engine's init, and what starts a program and hands on its input: two each, of some at a time.
_OWN_PROCESSES = 16
# One that was made so long ago and not started is of an agent that is gone.
_MADE_S = 120.0
_HELD_BY = {
    "memory_mb": "the engine: Memory",
    "cpus": "the engine: NanoCpus",
    "max_processes": "the engine: PidsLimit",
    "max_open_files": "the engine: Ulimits, for each process",
    "disk_mb": "the size of the file systems /work and /tmp, which are in memory",
}


class DockerBoxProvider:
    """Makes containers."""

    def __init__(self) -> None:
        self._image = SandboxesSettings().docker_image
        self._engine: aiodocker.Docker | None = None

    async def create(self, sandbox: Sandbox) -> RemoteBox:
        """A box whose process 1 runs.

        Raises:
            BoxError: the engine cannot be reached, or refuses it.
        """
        if sandbox.readable:
            raise BoxError(
                grpc.StatusCode.UNIMPLEMENTED,
                "the provider docker cannot show folders of the machine (WEFT_SANDBOXES_READABLE): put them into the image",
            )
        engine = await self._docker()
        name = f"weft-sandbox-{uuid.uuid4().hex[:16]}"
        carrier = DockerCarrier(engine.containers.container(name))
        try:
            async with _told():
                await self._make(engine, name, config_of(sandbox, self._image))
                first = await attached(carrier.container)
                box = RemoteBox(carrier, first, sandbox.variables)
                try:
                    async with asyncio.timeout(READY_S):
                        await carrier.container.start()
                    await box.ready()
                except BaseException:
                    await first.close()
                    raise
        except BaseException:
            with contextlib.suppress(BoxError):
                await asyncio.shield(carrier.remove())
            raise
        return box

    async def close(self) -> None:
        """Close the connections to the engine."""
        if self._engine is not None:
            await self._engine.close()

    async def _docker(self) -> aiodocker.Docker:
        """The engine's client, made on the loop that uses it."""
        if self._engine is None:
            self._engine = aiodocker.Docker(url=os.environ.get("DOCKER_HOST", _SOCKET))
            with contextlib.suppress(BoxError):
                await _remove_left(self._engine)
        return self._engine

    async def _make(self, engine: aiodocker.Docker, name: str, config: dict[str, Any]) -> None:
        async with asyncio.timeout(_PULL_S):
            try:
                await engine.containers.create(config, name=name)
            except aiodocker.DockerError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                await engine.images.pull(self._image)
                await engine.containers.create(config, name=name)


def config_of(sandbox: Sandbox, image: str) -> dict[str, Any]:
    """A container, as the engine's API has it. Pure."""
    memory = sandbox.memory_mb << 20
    variables = {"HOME": "/work", **box_variables()}
    folder = f"rw,nosuid,nodev,exec,mode=0700,uid=1000,gid=1000,size={sandbox.disk_mb}m"
    argv = first_argv(LEASE_S)
    return {
        "Image": image,
        "Labels": {LABEL: "true"},
        "Env": [f"{name}={text}" for name, text in variables.items()],
        "Entrypoint": argv[:1],
        "Cmd": argv[1:],
        "User": USER,
        "WorkingDir": "/work",
        "Tty": False,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        # Its end is the agent's end, however that came.
        "StdinOnce": True,
        "HostConfig": {
            "Init": True,
            "AutoRemove": True,
            "NetworkMode": "bridge" if sandbox.network else "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "IpcMode": "private",
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": int(sandbox.cpus * 1e9),
            "PidsLimit": sandbox.max_processes + _OWN_PROCESSES,
            "Ulimits": [
                {"Name": "nofile", "Soft": sandbox.max_open_files, "Hard": sandbox.max_open_files},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "ShmSize": _SHARED_BYTES,
            "Tmpfs": {"/work": folder, "/tmp": folder},  # noqa: S108 - the container's own
            "LogConfig": {"Type": "none"},
        },
    }


class DockerCarrier:
    """A container, and what is done with it."""

    held_by: Mapping[str, str] = _HELD_BY

    def __init__(self, container: Any) -> None:
        self.container = container

    async def run(self, argv: Sequence[str]) -> DockerChannel:
        async with _told():
            made = await self.container.exec(list(argv), stdin=True, user=USER)
            channel = DockerChannel(made.start(detach=False), made)
            await channel.open()
        return channel

    async def pause(self) -> None:
        async with _told(HTTPStatus.CONFLICT):
            await self.container.pause()

    async def resume(self) -> None:
        async with _told(HTTPStatus.CONFLICT):
            await self.container.unpause()

    async def remove(self) -> None:
        # CONFLICT: its removal is under way.
        async with _told(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            await self.container.delete(force=True, v=True)

    async def ended_for(self) -> str:
        return PROCESS_ENDED


class DockerChannel:
    """A process in a container, or its process 1, by a connection of its own.

    Args:
        made: what runs; None: process 1.
    """

    def __init__(self, stream: Any, made: Any = None) -> None:
        self._stream = stream
        self._made = made

    async def open(self) -> None:
        await self._stream.__aenter__()

    async def write(self, data: bytes) -> None:
        async with _told():
            await self._stream.write_in(data)

    async def read(self) -> tuple[bool, bytes] | None:
        async with _told():
            told = await self._stream.read_out()
        return None if told is None else (told.stream == 2, told.data)

    async def status(self) -> int:
        pause_s = 0.005
        # The engine closes the output a moment before it knows the status.
        async with _told(), asyncio.timeout(_STATUS_S):
            while True:
                found = await self._made.inspect()
                if not found["Running"] and found["ExitCode"] is not None:
                    return int(found["ExitCode"])
                await asyncio.sleep(pause_s)
                pause_s = min(0.5, pause_s * 2)

    async def close(self) -> None:
        async with _told():
            await self._stream.close()


async def attached(container: Any) -> DockerChannel:
    """The connection to a container's process 1."""
    channel = DockerChannel(container.attach(stdin=True, stdout=True, stderr=True))
    await channel.open()
    return channel


async def _remove_left(engine: aiodocker.Docker) -> None:
    """Remove what agents have made that were gone before it started. What has started goes by itself."""
    async with _told():
        filters = json.dumps({"label": [f"{LABEL}=true"], "status": ["created"]})
        for each in await engine.containers.list(all=True, filters=filters):
            if time.time() - each["Created"] > _MADE_S:
                async with _told(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                    await each.delete(force=True, v=True)


@contextlib.asynccontextmanager
async def _told(*harmless: int) -> AsyncIterator[None]:
    """What the engine refuses, as an error that a caller gets."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == _UNREACHED:
            raise BoxError(
                grpc.StatusCode.UNAVAILABLE,
                f"the Docker engine cannot be reached (DOCKER_HOST): {error.message}",
            ) from error
        if error.status not in harmless:
            raise BoxError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the Docker engine answers {error.status}: {error.message}",
            ) from error
    except TimeoutError as error:
        raise BoxError(grpc.StatusCode.UNAVAILABLE, "the Docker engine does not answer in time") from error
    except BoxError:
        raise
    except Exception as error:
        raise BoxError(
            grpc.StatusCode.UNAVAILABLE, f"the connection to the Docker engine failed: {error!r}"
        ) from error
