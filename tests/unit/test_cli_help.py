"""The help of every command, examples that can be typed, and versions."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner

from tests.support.command import weft
from tests.support.processes import environment
from weft.cli.command_line.lazy_group import LazyGroup, load
from weft.cli.main import app

ROOT: Any = typer.main.get_command(app)


def commands(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, with the words that lead to it."""
    yield path, group
    if not isinstance(group, TyperGroup):
        return
    for name in group.commands:
        places = group.entries if isinstance(group, LazyGroup) else {}
        found = load(name, places[name].path) if name in places else group.commands[name]
        yield from commands(found, (*path, name))


ALL = dict(commands())


def example_lines(command: Any) -> list[str]:
    """The command lines below "Examples:"."""
    _, _, below = (command.help or "").partition("Examples:\n")
    return [text.strip() for text in below.splitlines() if text.strip()]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_has_examples_and_each_of_them_can_be_typed(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"]).output
    lines = example_lines(ALL[path])
    assert lines
    for text in lines:
        assert text in shown, "it stays on its line"
        # Variables before it, and what is said of it behind it.
        words = shlex.split(text.partition("   ")[0])
        words = words[words.index("weft") + 1 :]
        assert tuple(words[: len(path)]) == path
        depth = next(n for n in range(len(words), -1, -1) if tuple(words[:n]) in ALL)
        name, command = tuple(words[:depth]), ALL[tuple(words[:depth])]
        # Some options put themselves into the environment.
        with mock.patch.dict(os.environ), command.make_context(" ".join(name), words[depth:]) as context:
            assert not context.args


def test_lists_of_commands_have_whole_sentences() -> None:
    for path, command in ALL.items():
        if getattr(command, "commands", None):
            shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"}).output
            assert "..." not in shown.partition("Commands:")[2], shown


def test_help_is_as_the_option_says() -> None:
    for words in ([], ["tasks"], ["tasks", "list"]):
        wanted = CliRunner().invoke(app, [*words, "--help"], prog_name="weft").output
        assert CliRunner().invoke(app, ["help", *words], prog_name="weft").output == wanted
    wrong = CliRunner().invoke(app, ["help", "taks"])
    assert wrong.exit_code == 2
    assert "Did you mean 'tasks'" in wrong.output


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["metods"], "Did you mean 'methods'?"),
        (["tasks", "lst"], "Did you mean 'list'?"),
        (["tasks", "list", "--metod", "x"], "--method"),
        (["agents", "darin", "x"], "Did you mean 'drain'?"),
        (["coordinator", "--durabilty", "full"], "--durability"),
    ],
)
def test_what_is_misspelt_is_told_what_is_near(words: list[str], hint: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert hint in done.output


async def test_the_version_everywhere() -> None:
    number = metadata.version("weft")
    for words in (["--version"], ["version"]):
        assert (await weft(*words)).out == f"weft {number}\n"


def test_python_dash_m_weft() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "weft", "--version"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"weft {metadata.version('weft')}\n", "")


@pytest.mark.parametrize("package", ["client", "agent"])
def test_the_version_in_code(package: str, tmp_path: Path) -> None:
    """`weft` alone is a namespace, where no code runs: it has a version once one of its packages is imported."""
    code = f"import weft.{package}; print(weft.__version__, weft.{package}.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.split() == [metadata.version("weft")] * 2
