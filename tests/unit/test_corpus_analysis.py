"""The example's figures, on small sources whose figures can be counted by eye, and on real files."""

from __future__ import annotations

import ast
import sysconfig
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.corpus import analysis

STDLIB = Path(sysconfig.get_path("stdlib"))


def source(text: str) -> bytes:
    return textwrap.dedent(text).lstrip("\n").encode()


def complexity(body: str) -> int:
    text = "def f(a, b, c):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return analysis.functions(text.encode())[0].complexity


def test_lines_by_kind() -> None:
    lines = analysis.analyze(
        source('''
        # a comment
        import os  # and one beside code

        def f():
            """Two lines

            and a half."""
            return (1,

                    2)
        ''')
    ).lines
    # The blank line inside the string belongs to the string; the one inside the parentheses is blank.
    assert (lines.total, lines.code, lines.comment, lines.blank) == (10, 7, 1, 2)


def test_an_empty_file() -> None:
    figures = analysis.analyze(b"")
    assert (figures.lines, figures.functions, figures.imports, figures.max_nesting) == (
        analysis.Lines(0, 0, 0),
        [],
        [],
        0,
    )


def test_a_last_line_without_a_newline_counts() -> None:
    assert analysis.analyze(b"a = 1\nb = 2").lines == analysis.Lines(2, 2, 0)


def test_names_are_qualified_and_in_the_order_of_the_source() -> None:
    figures = analysis.analyze(
        source("""
        class A:
            class B:
                def m(self):
                    def inner(): ...
            def n(self): ...
        async def f():
            class Local:
                def m(self): ...
        """)
    )
    assert figures.classes == ["A", "A.B", "f.<locals>.Local"]
    assert [f.name for f in figures.functions] == [
        "A.B.m",
        "A.B.m.<locals>.inner",
        "A.n",
        "f",
        "f.<locals>.Local.m",
    ]


def test_imports_are_sorted_and_named_once() -> None:
    figures = analysis.analyze(
        source("""
        import sys, os.path
        from . import x
        from ..pkg import y
        def f():
            import sys
            from json import loads
        """)
    )
    assert figures.imports == [".", "..pkg", "json", "os.path", "sys"]


def test_nesting_is_the_deepest_block() -> None:
    assert analysis.analyze(b"if a:\n  if b:\n    x\ny\n").max_nesting == 2


def test_the_declared_encoding_is_found_and_used() -> None:
    figures = analysis.analyze("# -*- coding: latin-1 -*-\nclass É: pass\n".encode("latin-1"))
    assert (figures.encoding, figures.classes) == ("iso-8859-1", ["É"])


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("return a", 1),
        ("if a: pass", 2),
        ("if a: pass\nelif b: pass\nelse: pass", 3),
        ("for x in a:\n    while b: pass", 3),
        ("try: pass\nexcept A: pass\nexcept B: pass\nfinally: pass", 3),
        ("return a and b and c or a", 4),
        ("return a if b else c", 2),
        ("return [x for x in a if x if b]", 4),
        ("match a:\n    case 1: pass\n    case 2 | 3: pass\n    case _: pass", 3),
        ("match a:\n    case _ if b: pass", 2),
        ("with a: assert b", 1),
        # A lambda is part of the function, a function in it is not.
        ("return lambda: a if b else c", 2),
        ("def g():\n    if a: pass", 1),
    ],
)
def test_complexity(body: str, wanted: int) -> None:
    assert complexity(body) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"def f(:\n", "line 1: "),
        (b"print 'two'\n", "line 1: Missing parentheses"),
        (b"x = 1\n# \xff\n", "utf-8"),
        (b"# coding: nonsense\n", "unknown encoding"),
        (b"a\0b", "null bytes"),
        (b"(" * 5000, "parenthes"),
    ],
)
def test_what_does_not_parse_says_why(text: bytes, says: str) -> None:
    with pytest.raises(analysis.Unreadable, match=says) as first:
        analysis.analyze(text)
    with pytest.raises(analysis.Unreadable) as second:
        analysis.analyze(text)
    assert str(first.value) == str(second.value)


@given(st.binary(max_size=300) | st.text(alphabet="def f(x):\n\t ifor\"'\\#", max_size=80).map(str.encode))
def test_any_bytes_give_figures_or_a_reason(text: bytes) -> None:
    try:
        figures = analysis.analyze(text)
    except analysis.Unreadable:
        return
    assert figures.lines.blank >= 0


@pytest.mark.parametrize("name", ["argparse.py", "asyncio/base_events.py", "typing.py"])
def test_real_files_agree_with_the_parser(name: str) -> None:
    text = (STDLIB / name).read_bytes()
    figures = analysis.analyze(text)
    tree = list(ast.walk(ast.parse(text)))
    assert len(figures.functions) == sum(isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in tree)
    assert len(figures.classes) == sum(isinstance(n, ast.ClassDef) for n in tree)
    assert figures.lines.total == len(text.splitlines())
    assert figures.functions == analysis.functions(text)


def test_threads_may_analyse_at_the_same_time() -> None:
    texts = [path.read_bytes() for path in sorted(STDLIB.glob("[a-c]*.py"))]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(analysis.functions, texts)) == [analysis.functions(text) for text in texts]
