"""Text from other processes cannot control a terminal: every character of Unicode, and every way to the standard
streams."""

from __future__ import annotations

import ast
import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft.cli
from weft.cli.terminal import output, tables
from weft.cli.terminal.output import Styled
from weft.rpc.visible import in_json, one_line, visible

ANY_TEXT = st.text(st.characters(codec=None))
CONTROLS = [
    chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n)) in {"Cc", "Zl", "Zp", "Cs"}
]
BIDI = [chr(n) for n in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]

UNSAFE = frozenset((*CONTROLS, *BIDI))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def unsafe(text: str, *, breaks: str = "") -> list[str]:
    return [char for char in text if char in UNSAFE and char not in breaks]


def test_every_control_character_is_shown_by_its_number():
    for char in (*CONTROLS, *BIDI):
        assert unsafe(one_line(f"a{char}b")) == [], hex(ord(char))
        assert unsafe(visible(f"a{char}b"), breaks="\n\t") == [], hex(ord(char))
    assert one_line("\x1b[2Ja\u202eb\nc\U000e0041") == r"\x1b[2Ja\u202eb\nc\U000e0041"
    assert visible("two\nlines\tand é, 漢字, 👩‍💻") == "two\nlines\tand é, 漢字, 👩‍💻"


@given(ANY_TEXT)
def test_json_keeps_what_it_says(text: str):
    told = output.json_text({text: [text]})
    assert unsafe(told) == []
    assert json.loads(told) == {text: [text]}
    assert in_json(told) == told


@given(ANY_TEXT, ANY_TEXT)
def test_a_terminal_gets_no_other_sequences_than_our_own_styles(first: str, second: str):
    stream = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        output.line((first, Styled(second, "bold red")))
        output.line(first)
        output.block(first)
        output.remark(second)
        columns = (
            tables.Column(first),
            tables.Column(second, below=True),
            tables.Column("", cut=True, below=True),
        )
        tables.print_rows(columns, [[first, Styled(second, "dim"), first * 9]], "")
        tables.print_pairs(
            [(first, second), (second, tables.Verbatim(first)), (first, Styled(second, "red"))]
        )
        tables.print_indented((first, Styled(second, "green")), 4, second)
    printed = stream.getvalue()
    for ours in ("\x1b[1;31m", "\x1b[2m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m"):
        printed = printed.replace(ours, "")
    assert unsafe(printed, breaks="\n\t") == []


def test_nothing_else_of_the_command_writes_to_the_terminal():
    """`output` and `tables` are the ways; the demo's bar is rich's, with texts of our own, as the line of progress has; `weft top` draws lines of theirs."""
    folder = Path(weft.cli.__file__).parent
    found = []
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call | ast.ImportFrom) else ""
            if text in {"sys.stdout.write", "sys.stderr.write"} or text.startswith(
                ("print(", "typer.echo(", "from rich")
            ):
                found.append(path.relative_to(folder).as_posix())
    assert set(found) <= {
        "terminal/output.py",
        "terminal/progress_line.py",
        "terminal/tables.py",
        "main.py",
        "demo/demo_display.py",
        "top/screen.py",
    }
