"""Leaves out of a script what it does not use: Lua makes each function anew at every run, a quarter of a microsecond each. Pure."""

from __future__ import annotations

import re

# A function of a file's own level, of several lines, up to its `end`.
_FUNCTION = re.compile(r"^(?:local )?function (\w+)\([^)\n]*\)\n.*?^end\n", re.MULTILINE | re.DOTALL)
# What may name a function and does not use it: comments, strings, fields, what gets a value, names that are declared before
# their functions.
_NO_USE = re.compile(r"--[^\n]*|'[^'\n]*'|\.\w+|\w+ =(?!=)|^local [\w, ]+$", re.MULTILINE)
_NAME = re.compile(r"\b[a-z_]\w*\b")


def linked(script: str) -> str:
    """A script without the functions that nothing in it leads to."""
    uses: dict[str, set[str]] = {}
    for function in _FUNCTION.finditer(script):
        uses.setdefault(function[1], set()).update(_names(function[0]))
    needed: set[str] = set()
    waiting = _names(_FUNCTION.sub("", script))
    while waiting:
        name = waiting.pop()
        if name in uses and name not in needed:
            needed.add(name)
            waiting |= uses[name]
    return _FUNCTION.sub(lambda function: function[0] if function[1] in needed else "", script)


def _names(text: str) -> set[str]:
    return set(_NAME.findall(_NO_USE.sub("", text)))
