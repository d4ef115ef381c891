"""Expressions of CEL: compiled against message types, and evaluated.

The library cel-expr-python (CEL's own C++ implementation) checks types, fields and functions when an expression is compiled, and evaluates in some
microseconds. It holds the interpreter meanwhile. Each function of CEL takes a time linear to its arguments, patterns too (RE2), so that an expression
without loops takes at worst some 100 ms for a message of 1 MiB; the macros that go through a list do not have such a bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import empty_pb2, unknown_fields
from google.protobuf.descriptor_pool import DescriptorPool

MAX_CHARS = 1024
# Numbers of fields of cel.expr.Expr, by kind of expression: where expressions are in it.
_COMPREHENSION = 9
_WITHIN: Mapping[int, tuple[tuple[int, ...], ...]] = {
    5: ((1,),),  # select: operand
    6: ((1,), (3,)),  # call: target, arguments
    7: ((1,),),  # list: elements
    8: ((2, 3), (2, 4)),  # struct: keys and values of entries
}
# In google.protobuf.Any, and in cel.expr.CheckedExpr.
_VALUE, _EXPR = 2, 4
_PLACE = re.compile(r"<input>:(\d+):(\d+): ")


class ExpressionFault(ValueError):
    """The expression does not compile; or it has no value for the data."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledExpression:
    """A compiled expression.

    Args:
        result: its type, by the library.
        has_loop: it goes through a list (all, exists, exists_one, map, filter), which may cost too much.
        evaluate: by `data=`, the variables' values; gives a value of the library.
    """

    result: Any
    has_loop: bool
    evaluate: Callable[..., Any]


class ExpressionTypes:
    """What expressions may name: variables, and message types.

    Args:
        variables: the types of the variables, by the library. Names may have dots.
        pool: the message types; None: those of protobuf alone.

    Raises:
        ImportError: the library is not installed.
    """

    def __init__(
        self, variables: Callable[[Any], Mapping[str, Any]], pool: DescriptorPool | None = None
    ) -> None:
        from cel_expr_python import cel

        self._environment = cel.NewEnv(pool or DescriptorPool(), variables=variables(cel))

    def compiled(self, text: str) -> CompiledExpression:
        """
        Raises:
            ExpressionFault: it does not compile; the text is a part of a sentence.
        """
        if len(text) > MAX_CHARS:
            raise ExpressionFault(f"it has more than {MAX_CHARS} characters")
        try:
            compiled = self._environment.compile(text)
        except RuntimeError as error:
            raise ExpressionFault(_told(str(error))) from None
        return CompiledExpression(compiled.return_type(), _has_loop(compiled.serialize()), compiled.eval)


def is_condition(result: Any) -> bool:
    """Whether a type of the library may be that of a condition."""
    from cel_expr_python import cel

    return result in (cel.Type.BOOL, cel.Type.DYN)


def _told(error: str) -> str:
    """The library's error as a part of a sentence."""
    first = error.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").split("\n")[0]
    first = first.removesuffix(" [INVALID_ARGUMENT]").removeprefix("CANCELLED: ").removesuffix(" [CANCELLED]")
    found = _PLACE.match(first)
    if found is None:
        return first
    return f"{first[found.end() :][:300]} (line {found[1]}, column {found[2]})"


def _has_loop(serialized: bytes) -> bool:
    """Whether a checked expression has a comprehension, to which CEL expands its macros."""
    waiting = [
        expression for checked in _fields(serialized, _VALUE) for expression in _fields(checked, _EXPR)
    ]
    while waiting:
        expression = waiting.pop()
        if any(True for _ in _fields(expression, _COMPREHENSION)):
            return True
        for kind, paths in _WITHIN.items():
            for inner in _fields(expression, kind):
                for path in paths:
                    waiting += _at(inner, path)
    return False


def _at(message: bytes, path: tuple[int, ...]) -> list[bytes]:
    found = [message]
    for number in path:
        found = [inner for each in found for inner in _fields(each, number)]
    return found


def _fields(message: bytes, number: int) -> Iterator[bytes]:
    """The messages in a field of a serialized message."""
    fields: Any = unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(message))
    for each in fields:
        if each.field_number == number and isinstance(each.data, bytes):
            yield each.data
