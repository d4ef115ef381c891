"""Analyses one Python source file without running it. Pure: bytes in, figures out."""

from __future__ import annotations

import ast
import io
import threading
import token
import tokenize
import warnings
from dataclasses import dataclass, field

# "Invalid escape sequence" and the like are the files' business, not the log's.
warnings.simplefilter("ignore", SyntaxWarning)

# Older CPythons, 3.11.7 among them, count recursion for all parsing threads together and raise SystemError when
# two of them meet (gh-106905). The lock costs nothing: parsing holds the GIL anyway.
_PARSING = threading.Lock()

_BRANCHES = frozenset({ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp})
# Nodes without anything below them: most of a tree, and nothing that is looked for.
_LEAVES = frozenset({ast.Name, ast.Constant, ast.alias}).union(
    *(base.__subclasses__() for base in (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop))
)
# Tokens that do not make the line they stand on a line of code.
_SILENT = frozenset(
    {token.COMMENT, token.ENCODING, token.NL, token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER}
)


class Unreadable(ValueError):
    """The source does not decode or does not parse; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method by its qualified name."""

    name: str
    line: int
    end_line: int
    complexity: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines by what stands on them."""

    total: int
    code: int
    comment: int

    @property
    def blank(self) -> int:
        return self.total - self.code - self.comment


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything about one file."""

    encoding: str
    lines: Lines
    tokens: int
    max_nesting: int
    imports: list[str]
    functions: list[Function]
    classes: list[str]


def analyze(source: bytes) -> Figures:
    """Measure one file.

    Raises:
        Unreadable: it does not decode or does not parse.
    """
    tree = _parse(source)
    try:
        encoding, lines, tokens, nesting = _scan(source)
    except (SyntaxError, tokenize.TokenError, UnicodeDecodeError) as error:
        raise Unreadable(str(error)) from error
    found = _walk(tree)
    return Figures(
        encoding=encoding,
        lines=lines,
        tokens=tokens,
        max_nesting=nesting,
        imports=sorted(found.imports),
        functions=[function.figures() for function in found.functions],
        classes=found.classes,
    )


def functions(source: bytes) -> list[Function]:
    """The functions of one file, in the order of the source.

    Raises:
        Unreadable: it does not decode or does not parse.
    """
    return [function.figures() for function in _walk(_parse(source)).functions]


def _parse(source: bytes) -> ast.Module:
    try:
        with _PARSING:
            tree = ast.parse(source)
        # From 3.12 on CPython's parser reads past bytes of a comment that do not decode.
        source.decode(tokenize.detect_encoding(io.BytesIO(source).readline)[0])
        return tree
    except SyntaxError as error:
        raise Unreadable(f"line {error.lineno or 0}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; deeper than the parser goes
        raise Unreadable(str(error)) from error


def _scan(source: bytes) -> tuple[str, Lines, int, int]:
    """The encoding, the lines, the tokens and the deepest indentation of a file."""
    encoding, tokens, depth, deepest = "utf-8", 0, 0, 0
    code: set[int] = set()
    comments: set[int] = set()
    for kind, text, (first, _), (last, _), _ in tokenize.tokenize(io.BytesIO(source).readline):
        tokens += 1
        if kind not in _SILENT:
            code.add(first)
            if last != first:
                code.update(range(first + 1, last + 1))
        elif kind == token.COMMENT:
            comments.add(first)
        elif kind == token.INDENT:
            depth += 1
            deepest = max(deepest, depth)
        elif kind == token.DEDENT:
            depth -= 1
        elif kind == token.ENCODING:
            encoding = text
            tokens -= 1  # not in the file
    total = source.count(b"\n") + (not source.endswith(b"\n") and source != b"")
    return encoding, Lines(total, len(code), len(comments - code)), tokens, deepest


@dataclass(slots=True)
class _Open:
    """A function while its body is walked."""

    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    decisions: int = 0

    def figures(self) -> Function:
        return Function(
            self.name, self.node.lineno, self.node.end_lineno or self.node.lineno, self.decisions + 1
        )


@dataclass(slots=True)
class _Found:
    """The findings of one walk over the syntax tree."""

    imports: set[str] = field(default_factory=set)
    functions: list[_Open] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)


def _walk(tree: ast.Module) -> _Found:
    """Visit every node once, in the order of the source."""
    found = _Found()
    # A stack of our own, since generated files nest deeper than Python likes to recurse: a node, the prefix of
    # the names in it, and the function that its decisions count for.
    stack: list[tuple[ast.AST, str, _Open | None]] = [(tree, "", None)]
    while stack:
        node, prefix, function = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = _Open(prefix + node.name, node)
            found.functions.append(function)
            prefix = f"{function.name}.<locals>."
        elif isinstance(node, ast.ClassDef):
            found.classes.append(prefix + node.name)
            prefix, function = f"{prefix}{node.name}.", None
        elif isinstance(node, ast.Import):
            found.imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.imports.add("." * node.level + (node.module or ""))
        elif function is not None:
            function.decisions += _decisions(node)
        stack += [(child, prefix, function) for child in reversed(_children(node))]
    return found


def _children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below this one, in the order of the source, without those that never hold anything."""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, ast.AST) and type(item) not in _LEAVES]
        elif isinstance(value, ast.AST) and type(value) not in _LEAVES:
            found.append(value)
    return found


def _decisions(node: ast.AST) -> int:
    """How many ways through a function this node adds (McCabe 1976).

    A boolean operator adds one for each operand after the first, a comprehension one for its loop and one for
    each of its conditions.
    """
    if type(node) in _BRANCHES:
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.match_case):
        catches_all = isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None
        return 0 if catches_all and node.guard is None else 1
    return 0
