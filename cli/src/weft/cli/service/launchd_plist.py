"""A property list of launchd, for macOS."""

from __future__ import annotations

import os
import plistlib
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from weft.cli.service.service_spec import STOP_S, ServiceSpec

_DAEMONS = PurePosixPath("/Library/LaunchDaemons")


class LaunchdPlist:
    """`/Library/LaunchDaemons/weft-NAME.plist`, or that of a user."""

    def __init__(self, spec: ServiceSpec, home: Path) -> None:
        self._spec = spec.checked()
        self._home = PurePosixPath(home.as_posix())

    @property
    def path(self) -> PurePath:
        folder = self._home / "Library/LaunchAgents" if self._spec.for_user else _DAEMONS
        return folder / f"{self._spec.service}.plist"

    @property
    def text(self) -> str:
        return plistlib.dumps(self._values(), sort_keys=False).decode()

    def after_install(self) -> Sequence[Sequence[str]]:
        return [["launchctl", "bootstrap", self._domain, str(self.path)]]

    def before_uninstall(self) -> Sequence[Sequence[str]]:
        return [["launchctl", "bootout", f"{self._domain}/{self._spec.service}"]]

    def after_uninstall(self) -> Sequence[Sequence[str]]:
        return []

    def status(self) -> Sequence[str]:
        return ["launchctl", "print", f"{self._domain}/{self._spec.service}"]

    @property
    def _domain(self) -> str:
        if not self._spec.for_user:
            return "system"
        # Windows, where it can be looked at, has no such number.
        return f"gui/{os.getuid()}" if hasattr(os, "getuid") else "gui/$(id -u)"

    def _values(self) -> dict[str, Any]:
        spec = self._spec
        logs = self._home / "Library/Logs" if spec.for_user else PurePosixPath("/Library/Logs")
        variables = dict(spec.variables)
        if spec.token_file:
            variables["WEFT_TOKEN_FILE"] = spec.token_file
        values: dict[str, Any] = {
            "Label": spec.service,
            "ProgramArguments": [*spec.weft, *spec.words],
            "EnvironmentVariables": variables,
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": 2,
            "ExitTimeOut": STOP_S,
            "ProcessType": "Background",
            "Umask": 0o077,
            "StandardOutPath": str(logs / f"{spec.service}.log"),
            "StandardErrorPath": str(logs / f"{spec.service}.log"),
        }
        if spec.folder:
            values["WorkingDirectory"] = spec.folder
        if spec.run_as and not spec.for_user:
            values["UserName"] = spec.run_as
        return values
