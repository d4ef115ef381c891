"""The environment of `make`, of a shell or of a git hook changes no test."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.outer_environment import leave_out
from tests.support.processes import ROOT

# What `make test VENV=... ARGS=...` adds, what a shell may have, and what a hook of git has.
OUTER = {
    "MAKEFLAGS": "n -- ARGS=-q VENV=.venv-other",
    "MAKEOVERRIDES": "${-*-command-variables-*-}",
    "MAKELEVEL": "1",
    "VENV": ".venv-other",
    "PYTHON": "/nowhere/python",
    "ARGS": "--json",
    "JOBS": "0",
    "WEFT_TARGET": "127.0.0.1:1",
    "WEFT_AGENT_ID": "of-the-shell",
    "OTEL_SDK_DISABLED": "true",
    "GIT_DIR": "/nowhere",
    "FORCE_COLOR": "1",
    "COLUMNS": "20",
}
# One test a kind: it fails where the variables of its kind reach it.
TOLD = (
    "tests/unit/test_makefile.py",
    "tests/unit/test_agent_settings.py::test_defaults",
    "tests/unit/test_client_methods.py::test_the_active_span_travels_along",
)


def test_variables_of_the_outer_run_are_left_out() -> None:
    environ = OUTER | {"PATH": "/bin", "WEFT_SEED": "7", "WEFT_TEST_CACHE": "/tmp/cache", "CI": "true"}
    leave_out(environ)
    assert environ == {"PATH": "/bin", "WEFT_SEED": "7", "WEFT_TEST_CACHE": "/tmp/cache", "CI": "true"}


@pytest.mark.slow
def test_tests_pass_in_any_environment() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TOLD],
        cwd=ROOT,
        env=os.environ | OUTER,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
