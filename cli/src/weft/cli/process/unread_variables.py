"""Warnings of WEFT_* variables that no setting reads: most are misspelt, and would be ignored silently."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping

from weft.rpc.process.extras import MissingExtra, require

_PREFIX = "WEFT_"
# Variables that commands read themselves; the others are in the settings' models.
_OF_COMMANDS = frozenset({"WEFT_TARGET", "WEFT_USE_PROXY"})
# Kubernetes sets these in a pod for each service, such as a service named "weft".
_OF_KUBERNETES = re.compile(
    r"WEFT_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)"
)


def warnings(environment: Mapping[str, str]) -> Iterator[str]:
    """A warning for each variable that nothing reads."""
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
            yield f"weft: warning: no setting is named {name}, so it does nothing{_near(name, known)}"


def known_variables() -> Collection[str]:
    """All variables that settings or commands read."""
    # Imported late: the models are slow to import, and needed only if there are other variables.
    from pydantic import AliasChoices

    from weft.agent.settings import AgentSettings
    from weft.agent.sidecar.sidecar_settings import SidecarSettings
    from weft.coordinator.settings import CoordinatorSettings

    known = set(_OF_COMMANDS)
    for model in (CoordinatorSettings, AgentSettings, SidecarSettings):
        prefix = model.model_config.get("env_prefix", "")
        for name, field in model.model_fields.items():
            alias = field.validation_alias
            names = alias.choices if isinstance(alias, AliasChoices) else [alias or f"{prefix}{name}"]
            known.update(str(each).upper() for each in names)
    return known


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else "; docs/settings.md lists all variables"
