"""All targets, by name."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.target import Target

# A module for each kind of input.
_FILES = sorted((Path(__file__).parent / "targets").glob("*.py"))


def names() -> list[str]:
    """The names of all targets, by their source: nothing is imported."""
    found = [
        node
        for path in _FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    return [
        each.name
        for each in found
        if any(ast.unparse(word).startswith("target(") for word in each.decorator_list)
    ]


def table() -> dict[str, Target]:
    """The targets. The first call imports what they test, which takes a second."""
    for path in _FILES:
        importlib.import_module(f"tests.fuzz.targets.{path.stem}")
    return importlib.import_module("tests.fuzz.target").TARGETS
