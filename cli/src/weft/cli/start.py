"""Entry point of the `weft` command. If packages of the command are missing, it says which command installs them."""

from __future__ import annotations

import sys

from weft.rpc.process.extras import MissingExtra, require


def main() -> None:
    """Run the command line."""
    try:
        require("cli")
    except MissingExtra as error:
        sys.exit(f"weft: {error}")
    from weft.cli.main import main as run

    run()
