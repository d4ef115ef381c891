"""`windows`: a script for PowerShell that makes the agent a Windows service."""

from __future__ import annotations

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.kinds.linux_kind import FOLDER, install_words
from weft.coordinator.provisioning.provision_kind import Artifact, KindSetting
from weft.coordinator.provisioning.shell_text import powershell
from weft.rpc import refusals

_FOLDER = "C:\\ProgramData\\weft"


class WindowsKind:
    """The service itself is written by `weft service install`, for WinSW, which must be there."""

    name = "windows"
    description = "A script for PowerShell that makes it a Windows service, by WinSW."
    most_replicas = 1
    first_number: int | None = None
    settings = (
        KindSetting("weft", "the path of weft.exe on that machine", default="C:\\weft\\Scripts\\weft.exe"),
        FOLDER,
    )

    def render(self, agent: AgentSpec) -> Artifact:
        token_file = f"{_FOLDER}\\{agent.name}.token"
        command = install_words(agent, token_file)
        for word in command:
            _check(word)
        file, service = powershell(token_file), f"{_FOLDER}\\services\\weft-{agent.name}.exe"
        lines = [
            "$ErrorActionPreference = 'Stop'",
            f"New-Item -ItemType Directory -Force -Path {powershell(_FOLDER)} | Out-Null",
            f"New-Item -ItemType File -Force -Path {file} | Out-Null",
            # Before the token is in it: for administrators and the system, by their ids, which have one name in all languages.
            f"icacls {file} /inheritance:r /grant '*S-1-5-32-544:F' '*S-1-5-18:F' | Out-Null",
            f"Set-Content -NoNewline -Encoding ascii -Path {file} -Value {powershell(agent.token)}",
            "& " + " ".join(map(powershell, command)),
        ]
        return Artifact(
            "\n".join(lines) + "\n",
            f"{agent.name}.ps1",
            [
                f"put WinSW's program at {service}",
                f"run it as an administrator, where weft and the program are installed: .\\{agent.name}.ps1",
            ],
        )


def _check(word: str) -> None:
    """PowerShell hands quotes and a last backslash on in other ways in other versions, and a service replaces %NAME%.

    Raises:
        InvalidArgument
    """
    if set(word) & set('"%') or word.endswith("\\"):
        raise refusals.invalid_field(
            f"{word[:128]!r} has a double quote or a percent sign, or ends with a backslash: the command of a Windows service"
            " cannot carry that",
            field="settings",
        )
