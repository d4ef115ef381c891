"""The manual's pages, as groff and man read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import man_pages
import pytest

from weft.cli.main import _Commands

# What roff would take for something else.
ODD = r"""'.TP .SH \fB\(aq \n "a" - -- ^~`"""


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return man_pages.pages()


@pytest.mark.slow
def test_each_command_has_its_page(pages: dict[str, str]) -> None:
    assert pages.keys() == {"weft.1", *(f"weft-{name}.1" for name in _Commands.entries)}
    for name, text in pages.items():
        sections = re.findall(r"^\.SH (.*)$", text, re.MULTILINE)
        assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"], name
        assert sections[-1] == "SEE ALSO", name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_groff_finds_no_fault(pages: dict[str, str]) -> None:
    """One run for all of them: a page resets what the one before has set."""
    done = subprocess.run(
        ["groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-z"],
        input="".join(pages.values()),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_shows_what_the_help_says(pages: dict[str, str], tmp_path: Path) -> None:
    shown = _shown(pages["weft-tasks.1"], tmp_path)
    assert "weft tasks list [OPTIONS]" in shown
    assert "--state STATE" in shown
    assert "weft tasks list --state FAILED --method Greeter/Greet" in shown


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_odd_text_stays_what_it_is(tmp_path: Path) -> None:
    lines = ['.TH "X" 1', ".SH NAME"]
    for text in (words := [ODD, *ODD.split()]):
        lines += [*man_pages._item(text, text), *man_pages._as_it_is(text)]
    shown = [line.strip() for line in _shown("\n".join([*lines, ""]), tmp_path).splitlines()]
    for text in words:
        # A short tag has its text on the same line.
        assert sum(line.split() in (text.split(), text.split() * 2) for line in shown) >= 2, text


def _shown(page: str, folder: Path) -> str:
    (file := folder / "weft.1").write_text(page, encoding="utf-8")
    done = subprocess.run(
        ["man", "--local-file", str(file)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "200"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout
