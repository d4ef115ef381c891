"""What to install for a part of weft that needs more packages than the base has."""

from __future__ import annotations

import re
from importlib import metadata

_OF_EXTRA = re.compile(r"""(?P<package>[^;]+?)\s*;.*extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra, however weft itself was installed: from a checkout or a wheel."""
    found = [_OF_EXTRA.fullmatch(text) for text in metadata.requires("weft") or ()]
    packages = [each["package"] for each in found if each is not None and each["extra"] == extra]
    return " ".join(["pip install", *(f"'{package}'" for package in packages)])
