"""Writes the manual's pages from the help of the commands: `make man` puts weft.1, and a page for each command, into build/man/man1.

`weft.1` lists the commands. The page of a group, such as `weft-tasks.1`, has a section for each of its commands. Wheels have the pages in share/man
if they are there when the wheel is built (`hatch_build.py`); `make release-check` writes them before.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer.main
from docs_reference import commands

from weft.cli.command_line.lazy_group import LazyGroup
from weft.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/man"
_SIGNS = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
_EXAMPLES = "Examples:\n"
# What click puts before a paragraph that must stay as it is.
_AS_IT_IS = "\b\n"
_STATUS = (
    ("0", "It has done what it was asked for."),
    ("1", "It has not; the error is on standard error."),
    ("2", "Wrong usage, or a wrong setting."),
)


def main() -> None:
    made = pages()
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "man1").mkdir(parents=True)
    for name, text in made.items():
        (FOLDER / "man1" / name).write_text(text, encoding="utf-8")
    print(f"{len(made)} pages of the manual are in {FOLDER.relative_to(ROOT)}")


def pages() -> dict[str, str]:
    """Every page, by the name of its file."""
    root, *below = commands(typer.main.get_command(app), "weft", None)
    # A group comes before its commands.
    groups: dict[str, list[Any]] = {}
    for context in below:
        groups.setdefault(context.command_path.split()[1], []).append(context)
    made = {"weft.1": "\n".join(_root_page(root, sorted(groups))) + "\n"}
    for name, contexts in groups.items():
        made[f"weft-{name}.1"] = "\n".join(_page(name, contexts)) + "\n"
    return made


def _root_page(context: Any, names: list[str]) -> Iterator[str]:
    yield from _head("weft", context)
    group = context.command
    assert isinstance(group, LazyGroup)
    for section in dict.fromkeys(entry.section for entry in group.entries.values()):
        yield f".SH {_argument(section.upper())}"
        for name, entry in group.entries.items():
            if entry.section == section:
                yield from _item(f"weft-{name}(1)", entry.help)
    yield ".SH EXIT STATUS"
    for status, meaning in _STATUS:
        yield from _item(status, meaning)
    yield ".SH SEE ALSO"
    yield ", ".join(rf"\fBweft\-{_text(name)}\fR(1)" for name in names)


def _page(name: str, contexts: list[Any]) -> Iterator[str]:
    own, *below = contexts
    yield from _head(f"weft-{name}", own)
    if below:
        yield ".SH COMMANDS"
    for context in below:
        yield f".SS {_argument(context.command_path)}"
        yield from _usage(context)
        yield from _described(context, options=".PP\n.B Options:")
    yield ".SH SEE ALSO"
    yield r"\fBweft\fR(1)"


def _head(page: str, context: Any) -> Iterator[str]:
    summary = " ".join(_parts(context)[0].split("\n\n")[0].split())
    yield f".TH {_argument(page.upper())} 1 {_argument('')} {_argument('weft ' + version('weft'))} {_argument('weft')}"
    yield ".SH NAME"
    yield rf"{_text(page)} \- {_text(summary.removesuffix('.'))}"
    yield ".SH SYNOPSIS"
    yield from _usage(context)
    yield ".SH DESCRIPTION"
    yield from _described(context, options=".SH OPTIONS", examples=".SH EXAMPLES")


def _usage(context: Any) -> Iterator[str]:
    yield f".B {_text(context.command_path)}"
    yield _line(" ".join(context.command.collect_usage_pieces(context)))


def _described(context: Any, *, options: str, examples: str = ".PP\n.B Examples:") -> Iterator[str]:
    text, lines = _parts(context)
    yield from _paragraphs(text)
    found = [each.get_help_record(context) for each in context.command.get_params(context)]
    if records := [each for each in found if each is not None]:
        yield options
        for names, meaning in records:
            yield from _item(names, meaning)
    if lines:
        yield examples
        yield from _as_it_is(lines)


def _parts(context: Any) -> tuple[str, str]:
    """The text of a command's help, and the lines of its examples."""
    text, _, lines = (context.command.help or "").partition(_EXAMPLES)
    return text.removesuffix(_AS_IT_IS).strip(), lines.rstrip()


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield ".PP"
        if paragraph.startswith(_AS_IT_IS):
            yield from _as_it_is(paragraph.removeprefix(_AS_IT_IS))
        else:
            yield _line(" ".join(paragraph.split()))


def _item(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_argument(tag)}"
    yield _line(" ".join(text.split()))


def _as_it_is(text: str) -> Iterator[str]:
    yield ".nf"
    yield from map(_line, text.split("\n"))
    yield ".fi"


def _line(text: str) -> str:
    """A line of text, which a dot or a quote at its beginning must not make a macro."""
    return re.sub(r"^(?=[.'\\]|$)", r"\\&", _text(text))


def _argument(text: str) -> str:
    """One argument of a macro."""
    return '"' + _text(text).replace('"', r"\(dq") + '"'


def _text(text: str) -> str:
    return text.translate(_SIGNS)


if __name__ == "__main__":
    main()
