"""`docker`: members are containers of a Docker engine, which DOCKER_HOST names."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import Any

from weft.coordinator.pools.outside.stop_times import StopTimes
from weft.coordinator.pools.provider import (
    ListedMember,
    MemberSpec,
    ProviderSetting,
    check_reach,
    command_of,
)
from weft.rpc import refusals
from weft.v1 import pool_pb2

MESH, POOL, MEMBER = "weft.mesh", "weft.pool", "weft.member"
SETTINGS = {"network", "memory_bytes", "cpus", "pull"}
_SOCKET = "unix:///var/run/docker.sock"
_TAIL_LINES = 3
# A container that was made and never started: its start is under way for so long.
_MADE_S = 60.0


class DockerProvider:
    """Makes, starts and removes containers. A container's name is the mark of the mesh and the member's id, so that there is one."""

    name = "docker"
    description = "A container of a Docker engine (DOCKER_HOST), by the extra weft[pools]."

    def __init__(self, setting: ProviderSetting) -> None:
        import aiodocker

        self._url = os.environ.get("DOCKER_HOST", _SOCKET)
        self.place = f"docker:{socket.gethostname() if self._url.startswith('unix') else self._url}"
        self._mesh = setting.mesh
        self._make = aiodocker.Docker
        self._error = aiodocker.DockerError
        self._engine: Any = None
        self._stops = StopTimes()
        # Those that stood still when they were last listed.
        self._frozen: set[str] = set()

    def _docker(self) -> Any:
        """The engine's client, made on the loop that uses it."""
        if self._engine is None:
            self._engine = self._make(url=self._url)
        return self._engine

    def check(self, template: pool_pb2.PoolTemplate) -> None:
        field = "spec.template"
        if not template.image:
            raise refusals.invalid_field("a container needs an image", field=f"{field}.image")
        if unknown := template.settings.keys() - SETTINGS:
            raise refusals.invalid_field(
                f"docker has no setting {min(unknown)!r}; there are {', '.join(sorted(SETTINGS))}",
                field=f"{field}.settings",
            )
        for name, kind in (("memory_bytes", int), ("cpus", float)):
            try:
                kind(template.settings.get(name) or 0)
            except ValueError:
                raise refusals.invalid_field(f"{name} is a number", field=f"{field}.settings") from None

    def _name(self, member_id: str) -> str:
        return f"weft-{self._mesh}-{member_id}"

    async def list(self) -> Mapping[str, ListedMember]:
        found: dict[str, ListedMember] = {}
        filters = {"label": [f"{MESH}={self._mesh}"]}
        for each in await self._docker().containers.list(all=True, filters=json.dumps(filters)):
            member_id, state = each["Labels"][MEMBER], each["State"]
            if state == "created" and time.time() - each["Created"] < _MADE_S:
                continue
            frozen = state == "paused"
            running = state in ("running", "paused", "restarting")
            ending = "" if running else f"{each['Status']}: {await self._last_words(each)}".rstrip(": ")
            found[member_id] = ListedMember(each["Id"][:12], running, ending, frozen=frozen)
        self._frozen = {member_id for member_id, each in found.items() if each.frozen}
        return found

    async def _last_words(self, container: Any) -> str:
        with contextlib.suppress(self._error):
            lines = await container.log(stdout=True, stderr=True, tail=_TAIL_LINES)
            return " / ".join(line.strip() for line in lines)[-300:]
        return ""

    async def start(self, member: MemberSpec) -> None:
        if member.template.settings.get("network") != "host":
            check_reach(member)
        config = self._config(member)
        containers = self._docker().containers
        name = self._name(member.id)
        if member.template.settings.get("pull") == "always":
            await self._docker().images.pull(member.template.image)
        for pulled in (False, True):
            try:
                await containers.create(config, name=name)
            except self._error as error:
                if error.status == HTTPStatus.CONFLICT:
                    break
                if error.status != HTTPStatus.NOT_FOUND or pulled:
                    raise
                await self._docker().images.pull(member.template.image)
            else:
                break
        container = await containers.get(name)
        # One that has ended stays as it is.
        if container["State"]["Status"] == "created":
            await container.start()

    def _config(self, member: MemberSpec) -> dict[str, Any]:
        template = member.template
        settings = template.settings
        words = command_of(template, ["weft"])
        config: dict[str, Any] = {
            "Image": template.image,
            "Env": [f"{name}={text}" for name, text in member.variables.items()],
            "Labels": {MESH: self._mesh, POOL: member.pool, MEMBER: member.id},
            "HostConfig": {
                "RestartPolicy": {"Name": "no"},
                "Init": True,
                "NetworkMode": settings.get("network") or "default",
                "Memory": int(settings.get("memory_bytes") or 0),
                "NanoCpus": int(float(settings.get("cpus") or 0) * 1e9),
            },
        }
        if words:
            # In place of the image's own command, which may be weft itself.
            config |= {"Entrypoint": words[:1], "Cmd": words[1:]}
        if template.folder:
            config["WorkingDir"] = template.folder
        return config

    async def freeze(self, member_id: str) -> None:
        await self._tell(self._container(member_id).pause())

    async def thaw(self, member_id: str) -> None:
        self._frozen.discard(member_id)
        await self._tell(self._container(member_id).unpause())

    async def stop(self, member_id: str, grace_s: float) -> None:
        if member_id in self._frozen:
            # An engine sends no signal to a container that stands still.
            await self.thaw(member_id)
        if self._stops.first(member_id, grace_s):
            await self._signal(member_id, "SIGTERM")
        elif self._stops.over(member_id):
            await self._signal(member_id, "SIGKILL")

    async def _signal(self, member_id: str, number: str) -> None:
        await self._tell(self._container(member_id).kill(signal=number))

    async def forget(self, member_id: str) -> None:
        self._stops.forget(member_id)
        await self._tell(self._container(member_id).delete(v=True))

    def _container(self, member_id: str) -> Any:
        return self._docker().containers.container(self._name(member_id))

    async def _tell(self, call: Awaitable[Any]) -> None:
        """Tell the engine something about a container that may not be there, or may be so already."""
        try:
            await call
        except self._error as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()
