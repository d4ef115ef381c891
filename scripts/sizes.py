"""Checks the sizes of files, functions and classes: `python scripts/sizes.py` prints those over a limit and fails.

A class may be past its bars with a reason: a sentence of its docstring that begins with "Large because". Files and
functions have no such way out: they are two things. Generated code in gen/ is as large as the contract.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import layout

FILE_LINES = 400
FUNCTION_LINES = 60
CLASS_METHODS = 15
CONSTRUCTOR_PARAMETERS = 7

# A sentence that begins so, and goes on.
REASON = re.compile(r"(?:^|[.:]\s+|\n\s*)Large because \S")
# An option or argument of a command: it has its place, its help and its check in the signature.
OPTION = re.compile(r"\btyper\.(?:Option|Argument)\(")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def problems(root: Path) -> Iterator[str]:
    for path in files(root):
        place = str(path.relative_to(root))
        text = path.read_text()
        if (lines := len(text.splitlines())) > FILE_LINES:
            yield f"{place}: {lines} lines, more than {FILE_LINES}: split it by roles"
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(text, place)):
                if isinstance(node, Function):
                    yield from function_problems(place, node)
                elif isinstance(node, ast.ClassDef):
                    yield from class_problems(place, node)


def files(root: Path) -> Iterator[Path]:
    """The files that people write, and the generated ones among them."""
    yield from (path for path, _ in layout.own_modules(root))
    for folder in (*layout.SOURCES, "scripts"):
        yield from sorted((root / folder).rglob("*.lua"))
    yield from sorted((root / "scripts").glob("*.py"))


def function_problems(place: str, node: Function) -> Iterator[str]:
    if (lines := length(node)) > FUNCTION_LINES:
        yield f"{place}:{node.lineno}: {node.name} has {lines} lines, more than {FUNCTION_LINES}: split it"


def length(node: Function) -> int:
    """Lines from `def` to the end; for a command, without its options."""
    if OPTION.search(ast.unparse(node.args)):
        return last_line(node) - node.body[0].lineno + 1
    return last_line(node) - node.lineno + 1


def last_line(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def class_problems(place: str, node: ast.ClassDef) -> Iterator[str]:
    if REASON.search(ast.get_docstring(node) or ""):
        return
    advice = 'split it, or say why in a sentence of its docstring: "Large because ..."'
    functions = [each for each in node.body if isinstance(each, Function)]
    # By name: overloads, getters and setters of one name are one method.
    methods = {each.name for each in functions} - {"__init__"}
    if len(methods) > CLASS_METHODS:
        yield f"{place}:{node.lineno}: {node.name} has {len(methods)} methods, more than {CLASS_METHODS}: {advice}"
    for each in functions:
        given = each.args
        parameters = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) - 1
        if each.name == "__init__" and parameters > CONSTRUCTOR_PARAMETERS:
            yield (
                f"{place}:{each.lineno}: the constructor of {node.name} has {parameters} parameters,"
                f" more than {CONSTRUCTOR_PARAMETERS}: {advice}"
            )


def main() -> int:
    found = [*problems(layout.ROOT)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
