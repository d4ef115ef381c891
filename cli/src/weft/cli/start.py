"""Where the `weft` command starts: it says what to install where the command's own packages are missing."""

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
