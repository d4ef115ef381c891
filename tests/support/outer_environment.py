"""Variables of the environment in which the tests were started that would change what tests and their children do.

`make` gives its own flags and variables to the tests that it runs, and a test that runs `make` would pass them on; a
developer's shell has settings of weft, of OpenTelemetry, of git and of how a terminal looks.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping

# Settings of the tests themselves.
_KEPT = re.compile(r"WEFT_(SEED|TEST_.*)")
_LEFT_OUT = re.compile(
    # The Makefile's variables are in the environment when they were given on its command line.
    r"MAKE.*|MFLAGS|GNUMAKEFLAGS|ARGS|JOBS|PYTHON|VENV"
    r"|WEFT_.*|OTEL_.*|GIT_.*"
    # With it, each process compiles every module of the tests anew.
    r"|PYTHONDONTWRITEBYTECODE"
    # Variables about the terminal that rich and typer read.
    r"|FORCE_COLOR|NO_COLOR|PY_COLORS|TTY_COMPATIBLE|TTY_INTERACTIVE|COLUMNS|LINES|GITHUB_ACTIONS"
)


def leave_out(environ: MutableMapping[str, str]) -> None:
    """Remove the variables of the outer run."""
    for name in list(environ):
        if _LEFT_OUT.fullmatch(name) and not _KEPT.fullmatch(name):
            del environ[name]
