"""In which namespace something is done: lines of the log say it, wherever they are made. In the default one they do not.

The tasks of asyncio have the context of the one that began them. So it is said where a namespace is opened, and where each of its calls begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context

from weft.rpc.process import log_context

_present: ContextVar[str] = ContextVar("weft_namespace", default="")


def enter(name: str) -> None:
    """What the present task does from now on, and what it begins, is in this namespace."""
    _present.set(name)


def context_of(name: str) -> Context:
    """A context for tasks in this namespace."""
    made = copy_context()
    made.run(enter, name)
    return made


def log_fields() -> Mapping[str, str]:
    """The field of a line that is logged here and now."""
    name = _present.get()
    return {"namespace": name} if name else {}


log_context.add_source(log_fields)
