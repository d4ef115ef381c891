"""Templates: JSON values with expressions in their texts. Pure functions.

"${steps.stock.number}"   one expression: its value
"order ${inputs.id}"      a text with a value in it; "$${" stands for "${"
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# JSON values within each other.
MAX_DEPTH = 30
_STRINGS = re.compile(
    r"""(?:\b[bB]?[rR][bB]?(?:"[^"]*"|'[^']*')|(?:\b[bB])?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
)
_NAMED = re.compile(r"\b(?P<of>steps|inputs)\s*\.\s*(?P<name>[A-Za-z_]\w*)")


class TemplateFault(ValueError):
    """A text that is no template; the message says why."""


class Expression(NamedTuple):
    """An expression within a text."""

    text: str


def parts(text: str) -> list[str | Expression]:
    """The parts of a text.

    Raises:
        TemplateFault: an expression is not closed, or empty.
    """
    found: list[str | Expression] = []
    plain, at = "", 0
    while at < len(text):
        if text.startswith("$${", at):
            plain, at = plain + "${", at + 3
        elif text.startswith("${", at):
            end = _end(text, at + 2)
            inner = text[at + 2 : end].strip()
            if not inner:
                raise TemplateFault("it has an empty expression: ${}")
            if plain:
                found.append(plain)
            found.append(Expression(inner))
            plain, at = "", end + 1
        else:
            plain, at = plain + text[at], at + 1
    if plain:
        found.append(plain)
    return found


def _end(text: str, begin: int) -> int:
    """Where the brace is that closes an expression."""
    at, depth = begin, 0
    while at < len(text):
        string = _STRINGS.match(text, at)
        if string is not None:
            at = string.end()
            continue
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            if not depth:
                return at
            depth -= 1
        at += 1
    raise TemplateFault("an expression is not closed: ${ without }")


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The texts of a JSON value, with their paths.

    Raises:
        TemplateFault: it is nested too deeply.
    """
    yield from _leaves(value, place, 0)


def _leaves(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        raise TemplateFault(f"it has more than {MAX_DEPTH} values within each other")
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{place}.{key}" if place else key, depth + 1)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{place}[{index}]", depth + 1)


def is_template(text: str) -> bool:
    """Whether a text has an expression, or may have."""
    return "${" in text


def expressions(value: Any) -> Iterator[str]:
    """The expressions of a template. Texts that are no templates have none."""
    for _, text in leaves(value):
        try:
            found = parts(text)
        except TemplateFault:
            continue
        yield from (each.text for each in found if isinstance(each, Expression))


def named(expression: str, of: str = "steps") -> set[str]:
    """The names that an expression takes from `steps`, or from `inputs`."""
    bare = _STRINGS.sub('""', expression)
    return {
        found["name"]
        for found in _NAMED.finditer(bare)
        if found["of"] == of and not _is_field(bare[: found.start()])
    }


def _is_field(before: str) -> bool:
    """Whether what stands before a name makes it a field of something."""
    before = before.rstrip()
    if not before.endswith("."):
        return False
    before = before[:-1].rstrip()
    return bool(before) and (before[-1].isalnum() or before[-1] in "_)]}\"'")


def unread(expression: str) -> str:
    """Why the names in an expression cannot be told; empty: they can."""
    if '"""' in expression or "'''" in expression:
        return "it has a text in three quotes: use one"
    if "//" in _STRINGS.sub('""', expression):
        return "it has a comment"
    return ""


def render(value: Any, evaluate: Callable[[str], Any]) -> Any:
    """A template with the values of its expressions, which are JSON values.

    Raises:
        TemplateFault, and what `evaluate` raises.
    """
    if isinstance(value, str):
        if not is_template(value):
            return value
        found = parts(value)
        if len(found) == 1 and isinstance(found[0], Expression):
            return evaluate(found[0].text)
        return "".join(each if isinstance(each, str) else _as_text(evaluate(each.text)) for each in found)
    if isinstance(value, dict):
        return {key: render(each, evaluate) for key, each in value.items()}
    if isinstance(value, list):
        return [render(each, evaluate) for each in value]
    return value


def _as_text(value: Any) -> str:
    """A value within a text: numbers of JSON are doubles, and a person writes 3, not 3.0."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)
