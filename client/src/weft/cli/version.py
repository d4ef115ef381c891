"""`weft version`."""

from __future__ import annotations

from weft.cli.examples import examples
from weft.cli.options import Json
from weft.cli.output import show


@examples("weft version", "weft version --json")
def version(as_json: Json = False) -> None:
    """Print the version."""
    from weft.rpc.version import VERSION

    show({"version": VERSION}, f"weft {VERSION}", as_json=as_json)
