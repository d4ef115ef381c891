"""The settings models of the parts that are installed, by their table in weft.toml."""

from __future__ import annotations

from collections.abc import Mapping

from weft.rpc.process.extras import MissingExtra, require
from weft.rpc.process.file_settings import FileSettings


def known_models() -> Mapping[str, type[FileSettings]]:
    """Table -> model, in the order of a file."""
    from weft.cli.process.client_settings import ClientSettings

    found: dict[str, type[FileSettings]] = {}
    if _has("coordinator"):
        from weft.coordinator.settings import CoordinatorSettings

        found["coordinator"] = CoordinatorSettings
    if _has("agent"):
        from weft.agent.settings import AgentSettings
        from weft.agent.sidecar.sidecar_settings import SidecarSettings

        found |= {"agent": AgentSettings, "sidecar": SidecarSettings}
    found["client"] = ClientSettings
    if _has("agent"):
        from weft.agent.program.service_packages import service_settings

        found |= service_settings()
    return found


def _has(part: str) -> bool:
    try:
        require(part)
    except MissingExtra:
        return False
    return True
