"""`weft version`."""

from __future__ import annotations

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import Json
from weft.cli.terminal.output import show


@examples("weft version", "weft version --json")
def version(as_json: Json = False) -> None:
    """Print the version."""
    from weft.rpc.process.version import VERSION

    show({"version": VERSION}, f"weft {VERSION}", as_json=as_json)
