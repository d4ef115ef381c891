"""`systemd-run`: members are transient units of systemd: of the user's, or, for root, of the system's. They are in a control group of their own,
so nothing that they start outlives them, and a coordinator that is a unit itself can end without them."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from weft.coordinator.pools.outside.stop_times import StopTimes
from weft.coordinator.pools.processes.process_provider import passed_on
from weft.coordinator.pools.provider import ListedMember, MemberSpec, ProviderSetting, command_of
from weft.rpc import refusals
from weft.v1 import pool_pb2

# Properties of a unit that a template may set, and their form.
SETTINGS = {
    "MemoryMax": r"[0-9]+[KMGT]?",
    "CPUQuota": r"[0-9]+%",
    "TasksMax": r"[0-9]+",
    "Nice": r"-?[0-9]{1,2}",
    "User": r"[a-z_][a-z0-9_-]{0,31}",
}
_WEFT = (sys.executable, "-P", "-m", "weft.cli.main")
_SHOWN = "Id,ActiveState,SubState,MainPID,Result,ExecMainStatus,FreezerState"
_ENDED = ("inactive", "failed")


class SystemdFault(Exception):
    """A command of systemd has failed; the text says how."""


class SystemdProvider:
    """Runs `systemd-run` and `systemctl`. A unit's name is the mark of the mesh and the member's id, so that there is one."""

    name = "systemd-run"
    description = "A transient unit of systemd on the coordinator's machine (Linux)."

    def __init__(self, setting: ProviderSetting) -> None:
        if sys.platform != "linux":
            raise SystemdFault("units of systemd need Linux")
        self.place = f"systemd:{socket.gethostname()}"
        self._prefix = f"weft-{setting.mesh}-"
        self._scope = [] if os.getuid() == 0 else ["--user"]
        self._stops = StopTimes()
        # Those that stood still when they were last listed.
        self._frozen: set[str] = set()

    def check(self, template: pool_pb2.PoolTemplate) -> None:
        field = "spec.template"
        if template.image:
            raise refusals.invalid_field("a unit has no image", field=f"{field}.image")
        for name, value in template.settings.items():
            form = SETTINGS.get(name)
            if form is None or not re.fullmatch(form, value):
                known = ", ".join(SETTINGS)
                raise refusals.invalid_field(
                    f"{name}={value} is not a property that a pool may set: {known}",
                    field=f"{field}.settings",
                )
        if not command_of(template, _WEFT):
            raise refusals.invalid_field(
                "say what members are: program=MODULE:OBJECT, app=HOST:PORT for a sidecar, or a command",
                field=f"{field}.program",
            )

    def _unit(self, member_id: str) -> str:
        return f"{self._prefix}{member_id}.service"

    async def list(self) -> Mapping[str, ListedMember]:
        shown = await self._systemctl("show", f"{self._prefix}*.service", f"--property={_SHOWN}", "--all")
        found: dict[str, ListedMember] = {}
        for block in shown.split("\n\n"):
            unit = {name: value for name, _, value in (line.partition("=") for line in block.splitlines())}
            if not (full := unit.get("Id", "")).startswith(self._prefix):
                continue
            # The unit stays when its process has ended (RemainAfterExit): so it is known how.
            ended = unit["ActiveState"] in _ENDED or unit["SubState"] == "exited"
            ending = f"ended: {unit['Result']}, status {unit['ExecMainStatus']}" if ended else ""
            member_id = full.removeprefix(self._prefix).removesuffix(".service")
            # Older ones do not know it.
            frozen = unit.get("FreezerState", "").startswith("fr")
            found[member_id] = ListedMember(unit["MainPID"], not ended, ending, frozen=frozen)
        self._frozen = {member_id for member_id, each in found.items() if each.frozen}
        return found

    async def start(self, member: MemberSpec) -> None:
        words = ["systemd-run", *self._scope, "--quiet", f"--unit={self._unit(member.id)}"]
        properties = dict(member.template.settings) | {
            "Description": f"member of the pool {member.pool}",
            "RemainAfterExit": "yes",
            "KillMode": "mixed",
        }
        words += [f"--property={name}={value}" for name, value in properties.items()]
        words += [f"--working-directory={member.template.folder or Path.cwd()}"]
        # The values come from this process' environment: so nobody reads a token in the list of processes.
        variables = passed_on() | dict(member.variables)
        words += [f"--setenv={name}" for name in variables]
        try:
            await _run([*words, "--", *command_of(member.template, _WEFT)], variables)
        except SystemdFault as fault:
            if "already" not in str(fault):
                raise

    async def freeze(self, member_id: str) -> None:
        await self._change("freeze", member_id)

    async def thaw(self, member_id: str) -> None:
        await self._change("thaw", member_id)

    async def _change(self, word: str, member_id: str) -> None:
        try:
            await self._systemctl(word, self._unit(member_id))
        except SystemdFault:
            listed = (await self.list()).get(member_id)
            if listed is not None and listed.running and listed.frozen != (word == "freeze"):
                raise

    async def stop(self, member_id: str, grace_s: float) -> None:
        if self._stops.first(member_id, grace_s):
            await self._signal(member_id, "TERM", "--kill-whom=main")
        elif self._stops.over(member_id):
            await self._signal(member_id, "KILL", "--kill-whom=all")
        if member_id in self._frozen:
            # It hears a signal when it goes on.
            await self.thaw(member_id)

    async def _signal(self, member_id: str, number: str, whom: str) -> None:
        try:
            await self._systemctl("kill", f"--signal={number}", whom, self._unit(member_id))
        except SystemdFault:
            # It is not there, or has ended.
            return

    async def forget(self, member_id: str) -> None:
        self._stops.forget(member_id)
        unit = self._unit(member_id)
        for words in (("stop", unit), ("reset-failed", unit)):
            try:
                await self._systemctl(*words)
            except SystemdFault:
                continue

    async def close(self) -> None:
        """Nothing is open."""

    async def _systemctl(self, *words: str) -> str:
        return await _run(["systemctl", *self._scope, *words], None)


async def _run(words: Sequence[str], variables: Mapping[str, str] | None) -> str:
    """Run a command; returns its output.

    Raises:
        SystemdFault
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if variables is None else dict(os.environ) | dict(variables),
        )
    except OSError as error:
        raise SystemdFault(f"{words[0]} cannot be run: {error}") from None
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise SystemdFault(err.decode(errors="replace").strip()[:300] or f"status {process.returncode}")
    return out.decode(errors="replace")
