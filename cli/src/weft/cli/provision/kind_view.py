"""Kinds of provisioning for people and as JSON documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from weft.cli.terminal.output import Styled, line
from weft.cli.terminal.tables import print_indented

if TYPE_CHECKING:
    from weft.v1 import provision_pb2


def print_kinds(kinds: Iterable[provision_pb2.ProvisionKind]) -> None:
    """Print each kind with its settings; those that all kinds have are printed once."""
    kinds = list(kinds)
    working = [{_told(each) for each in kind.settings} for kind in kinds if not kind.problem]
    shared = set.intersection(*working) if len(working) > 1 else set()
    for each in kinds:
        of = "" if each.package == "weft" else f" ({each.package})"
        line([Styled(each.name, "bold"), f"{of}: {each.problem or each.description}"])
        _print(_told(setting) for setting in each.settings if _told(setting) not in shared)
    if shared:
        line(Styled("settings of every kind", "bold"))
        _print(sorted(shared))


def _print(settings: Iterable[tuple[str, str]]) -> None:
    for name, told in settings:
        print_indented(f"  {name}", 6, told)


def document(kind: provision_pb2.ProvisionKind) -> dict[str, Any]:
    """A kind as JSON."""
    return {
        "name": kind.name,
        "description": kind.description,
        "package": kind.package,
        "problem": kind.problem,
        "settings": [
            {
                "name": each.name,
                "description": each.description,
                "default": each.default_value,
                "required": each.required,
            }
            for each in kind.settings
        ],
    }


def _told(setting: provision_pb2.ProvisionSetting) -> tuple[str, str]:
    more = f" [default: {setting.default_value}]" if setting.default_value else ""
    return setting.name, setting.description + (" [required]" if setting.required else more)
