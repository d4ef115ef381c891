"""An app's imports are in one place: `weft.client` for callers, `weft.agent` for programs that host methods."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from weft.rpc import errors


@pytest.mark.parametrize("place", ["weft.client", "weft.agent"])
def test_every_error_is_there(place: str) -> None:
    module = importlib.import_module(place)
    tree = {
        each.__name__
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.WeftError)
    }
    assert tree <= set(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_the_client_imports_little() -> None:
    """Modules are counted, not seconds: about a third of a millisecond each. Python's own differ from version to version."""
    code = "import sys, weft.client; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    roots = [name.partition(".")[0] for name in out.split()]
    assert not {
        "rich",
        "structlog",
        "typer",
        "pydantic",
        "redis",
        "psutil",
        "protovalidate",
        "uvloop",
        "cryptography",
    } & set(roots)
    others = [name for name in roots if name not in sys.stdlib_module_names]
    assert len(others) < 250, "weft.client is to be imported in 0.25 s"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["weft.agent.runtime", "weft.coordinator.server", "weft.cli.main"])
def test_costly_libraries_are_loaded_for_those_who_use_them_alone(place: str) -> None:
    """The import of that of rules takes 0.2 s and 25 MB; that of certificates is for those who make some."""
    code = f"import sys, {place}; sys.exit(bool({{'protovalidate', 'cryptography'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
