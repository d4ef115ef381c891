"""`weft version`."""

from __future__ import annotations

from importlib import metadata

from weft.cli.options import Json
from weft.cli.output import show


def version(as_json: Json = False) -> None:
    """Print the version."""
    number = metadata.version("weft")
    show({"version": number}, f"weft {number}", as_json=as_json)
