"""`process`: members are processes of the coordinator's machine, and of its user."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from weft.coordinator.pools.processes.keeper_link import KeeperLink
from weft.coordinator.pools.provider import ListedMember, MemberSpec, ProviderSetting, command_of
from weft.rpc import refusals
from weft.v1 import pool_pb2

# What members have of the coordinator's environment. The rest may be secret.
_PASSED_ON = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"),
        *("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("XDG_RUNTIME_DIR", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"),
    }
)
_WEFT = (sys.executable, "-P", "-m", "weft.cli.main")


def passed_on() -> dict[str, str]:
    """The coordinator's environment, as far as members have it."""
    return {name: text for name, text in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}


class ProcessProvider:
    """Starts processes under a keeper, which outlives the coordinator."""

    name = "process"
    description = "A process of the coordinator's machine, as the coordinator's user (Linux)."

    def __init__(self, setting: ProviderSetting) -> None:
        folder = Path(setting.folder or _default_folder())
        self.place = f"{socket.gethostname()}:{folder}"
        self._link = KeeperLink(setting.mesh, folder, setting.alone_s, passed_on(), setting.changed)

    def check(self, template: pool_pb2.PoolTemplate) -> None:
        if sys.platform != "linux":
            raise refusals.invalid_field(
                "processes of pools need Linux, which ends them with their keeper",
                field="spec.template.provider",
            )
        if template.image:
            raise refusals.invalid_field("a process has no image", field="spec.template.image")
        if template.settings:
            raise refusals.invalid_field("process has no settings of its own", field="spec.template.settings")
        if not command_of(template, _WEFT):
            raise refusals.invalid_field(
                "say what members are: program=MODULE:OBJECT, app=HOST:PORT for a sidecar, or a command",
                field="spec.template.program",
            )

    async def list(self) -> Mapping[str, ListedMember]:
        found = await self._link.list()
        return {
            # A keeper of an earlier version says less.
            member_id: ListedMember(str(pid or ""), running, ending, frozen=any(more[1:]))
            for member_id, (pid, running, ending, *more) in (found or {}).items()
        }

    async def start(self, member: MemberSpec) -> None:
        await self._link.ask(
            "start",
            start=True,
            member=member.id,
            words=command_of(member.template, _WEFT),
            env=passed_on() | dict(member.variables),
            folder=member.template.folder or str(Path.cwd()),
            # A command may be anything.
            fork=not member.template.command,
        )

    async def stop(self, member_id: str, grace_s: float) -> None:
        await self._link.ask("stop", member=member_id, grace_s=grace_s)

    async def freeze(self, member_id: str) -> None:
        await self._link.ask("freeze", member=member_id)

    async def thaw(self, member_id: str) -> None:
        await self._link.ask("thaw", member=member_id)

    async def forget(self, member_id: str) -> None:
        await self._link.ask("forget", member=member_id)

    async def close(self) -> None:
        await self._link.close()


def _default_folder() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime:
        return f"{runtime}/weft-pools"
    # Where there are no such numbers (Windows), `check` refuses each pool.
    user = os.getuid() if hasattr(os, "getuid") else 0
    return f"{tempfile.gettempdir()}/weft-pools-{user}"
