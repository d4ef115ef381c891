"""Names of the numbers of the contract's enums. A newer peer may send numbers that this version has no names for.

Nothing else asks a generated enum for a name (`tests/unit/test_enum_names.py`): it raises ValueError for such a number.
"""

from __future__ import annotations

from typing import Any


def enum_name(enum: Any, number: int, prefix: str = "") -> str:
    """The name of a number, without a prefix. Of a number that this version does not know: the number as text.

    Args:
        enum: a generated enum, such as `task_pb2.TaskState`.
        prefix: what its names begin with, such as "TASK_STATE_".
    """
    try:
        name: str = enum.Name(number)
    except ValueError:
        return str(number)
    return name.removeprefix(prefix)
