"""WEFT_* variables that no setting reads: most are misspelt, and would be ignored silently. In a file they are an error."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from weft.cli.terminal.failure import Failure
from weft.rpc.process.extras import MissingExtra, require
from weft.rpc.process.settings_files import SettingsFiles
from weft.rpc.similar_names import similar_names

if TYPE_CHECKING:
    from weft.rpc.process.file_settings import FileSettings

_PREFIX = "WEFT_"
# Variables that commands read themselves; the others are in the settings' models.
_OF_COMMANDS = frozenset({"WEFT_AMQP_URL", "WEFT_TARGET", "WEFT_USE_PROXY", "WEFT_CONFIG", "WEFT_PROFILE"})
# Kubernetes sets these in a pod for each service, such as a service named "weft".
_OF_KUBERNETES = re.compile(
    r"WEFT_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)"
)


def warnings(environment: Mapping[str, str]) -> Iterator[str]:
    """A warning for each variable that nothing reads."""
    for name, near in _unread(environment):
        yield f"weft: warning: no setting is named {name}, so it does nothing{near}"


def check_file(files: SettingsFiles) -> None:
    """Check the names of the variables in `.env`.

    Raises:
        Failure: nothing reads some.
    """
    for name, near in _unread(files.variables):
        raise Failure(f"{files.dotenv}: no setting is named {name}{near}", status=2)


def _unread(environment: Collection[str]) -> Iterator[tuple[str, str]]:
    """The variables that nothing reads, each with a hint."""
    unknown = sorted(
        name
        for name in environment
        if name.startswith(_PREFIX) and name not in _OF_COMMANDS and not _OF_KUBERNETES.fullmatch(name)
    )
    if not unknown:
        return
    try:
        for part in ("agent", "coordinator"):
            require(part)
    except MissingExtra:
        # The settings of a part that is not installed are not known here.
        return
    known = known_variables()
    for name in unknown:
        if name not in known:
            yield name, _near(name, known)


def known_variables() -> Collection[str]:
    """All variables that settings or commands read."""
    # Imported late: the models are slow to import, and needed only if there are other variables.
    from weft.agent.program.service_packages import service_settings
    from weft.agent.settings import AgentSettings
    from weft.agent.sidecar.sidecar_settings import SidecarSettings
    from weft.coordinator.settings import CoordinatorSettings

    models: list[type[FileSettings]] = [CoordinatorSettings, AgentSettings, SidecarSettings]
    models += service_settings().values()
    return _OF_COMMANDS.union(*(model.variables(name) for model in models for name in model.model_fields))


def _near(name: str, known: Collection[str]) -> str:
    near = similar_names(name, sorted(known), cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else "; docs/settings.md lists all variables"
