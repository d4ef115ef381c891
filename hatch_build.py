"""Puts the manual's pages into wheels and sdists, if `make man` has written them: they are made by running weft, which a build cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PAGES = "build/man"


class ManualHook(BuildHookInterface[Any]):
    """What hatchling calls before it builds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not Path(self.root, _PAGES).is_dir():
            return
        if self.target_name == "wheel":
            build_data["shared_data"][_PAGES] = "share/man"
        else:
            build_data["force_include"][_PAGES] = _PAGES
