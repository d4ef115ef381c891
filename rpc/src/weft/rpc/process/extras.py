"""Parts of weft that need more packages than a client: what is missing, and how it is installed."""

from __future__ import annotations

import re
from importlib.util import find_spec

_OF_EXTRA = re.compile(r"""(?P<package>[^;]+?)\s*;.*extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")

# Extra, named like the package of weft that it is for -> modules without which that cannot be imported.
REQUIRED: dict[str, tuple[str, ...]] = {
    "agent": ("grpc_health", "grpc_reflection", "opentelemetry", "psutil", "pydantic_settings"),
    "coordinator": ("grpc_health", "grpc_reflection", "pydantic_settings"),
    "cli": ("grpc_reflection", "rich", "typer", "uvloop"),
}


class MissingExtra(ImportError):
    """A part of weft cannot be imported, because packages of its extra are not installed."""


def require(extra: str) -> None:
    """See to it that the packages of an extra are installed.

    Raises:
        MissingExtra: some are not; the message has the command that installs them.
    """
    missing = [module for module in REQUIRED[extra] if find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f"weft.{extra} needs packages that are not installed ({', '.join(missing)}): {install_command(extra)}"
        )


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra, however weft itself was installed: from a checkout or a wheel."""
    from importlib import metadata

    found = [_OF_EXTRA.fullmatch(text) for text in metadata.requires("weft") or ()]
    packages = [each["package"] for each in found if each is not None and each["extra"] == extra]
    return " ".join(["pip install", *(f"'{package}'" for package in packages)])
