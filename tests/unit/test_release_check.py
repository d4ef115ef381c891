"""What `make release-check` refuses in a release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import release_check
import release_tools

GOOD = [
    "weft/rpc/py.typed",
    "weft/rpc/errors.py",
    "weft/testing/local_mesh.py",
    "weft/cli/certs/certs_command.py",
]


@pytest.mark.parametrize(
    "name",
    [
        "tests/unit/test_x.py",
        "weft/rpc/test_errors.py",
        "weft/rpc/__pycache__/errors.cpython-311.pyc",
        "weft/conftest.py",
        "weft/cert.pem",
        "weft.db",
        ".env",
        ".venv-lowest/bin/python",
        "weft/tls.key",
    ],
)
def test_what_no_release_has_is_found(name: str) -> None:
    with pytest.raises(release_tools.CheckFailed, match="has what no release has"):
        release_tools.check_names("x.whl", [*GOOD, name])
    release_tools.check_names("x.whl", GOOD)


def test_what_must_be_there_is_missed() -> None:
    with pytest.raises(release_tools.CheckFailed, match=r"lacks weft/v1/py\.typed"):
        release_tools.check_there("x.whl", GOOD, ["weft/rpc/py.typed", "weft/v1/py.typed"])


@pytest.mark.parametrize(
    ("licence", "allowed"), [("MIT", True), ("GPL-3.0-only", False), ("AGPL-3.0", False)]
)
def test_strict_licences_are_refused(tmp_path: Path, licence: str, allowed: bool) -> None:
    bom = tmp_path / "weft-1.cdx.json"
    one = {"name": "a", "version": "1", "licenses": [{"license": {"id": licence}}]}
    other = {"name": "b", "version": "2", "licenses": [{"expression": "MIT OR Apache-2.0"}]}
    bom.write_text(json.dumps({"components": [one, other, {"name": "c", "version": "3"}]}))
    if allowed:
        release_check.write_licences(bom)
    else:
        with pytest.raises(release_tools.CheckFailed, match="obliges"):
            release_check.write_licences(bom)
    text = (tmp_path / "weft-1.licences.txt").read_text()
    assert text.splitlines() == [f"a 1: {licence}", "b 2: MIT OR Apache-2.0", "c 3: unknown"]
