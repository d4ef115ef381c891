"""Makes a `weft.v1.HandlerError` of the exception that a handler raised, for operators: without secrets, as a log is, and
within bounds.

Nothing here raises, even if the exception's own `__str__` does.
"""

from __future__ import annotations

import traceback

from weft.rpc.process.redaction import redacted_text
from weft.v1 import task_pb2

MAX_TYPE_BYTES = 256
MAX_LINE_BYTES = 512
MAX_MESSAGE_BYTES = 4 * 1024
MAX_STACK_BYTES = 16 * 1024
# Frames of one traceback, the innermost ones.
_MAX_FRAMES = 64
# Stands for the text of an exception whose `__str__` fails.
UNTOLD = "(its text cannot be read)"


def handler_error(error: BaseException) -> task_pb2.HandlerError:
    """The type, message and stack of an exception."""
    return task_pb2.HandlerError(
        type=_head(_type_name(type(error)), MAX_TYPE_BYTES),
        message=_head(redacted_text(text_of(error)), MAX_MESSAGE_BYTES),
        stack=_tail(redacted_text(_stack(error)), MAX_STACK_BYTES),
    )


def bound(error: task_pb2.HandlerError) -> None:
    """Cut an error from another process to the bounds of the contract, in place."""
    error.type = _head(error.type, MAX_TYPE_BYTES)
    error.message = _head(error.message, MAX_MESSAGE_BYTES)
    error.stack = _tail(error.stack, MAX_STACK_BYTES)


def summary(error: task_pb2.HandlerError) -> str:
    """An error in about one line: "ValueError: no such card"."""
    return f"{error.type}: {error.message}" if error.message else error.type


def line_of(error: BaseException) -> str:
    """An exception that is not ours in about one line, whatever its own methods do."""
    kind, text = _head(_type_name(type(error)), MAX_TYPE_BYTES), redacted_text(text_of(error))
    return _head(f"{kind}: {text}" if text else kind, MAX_LINE_BYTES)


def text_of(value: object) -> str:
    """`str(value)` as text that can be sent; `UNTOLD` if it fails."""
    try:
        # Not the value's own method: a subclass of str may override it.
        return sendable(str.__str__(str(value)))
    except BaseException:
        return UNTOLD


def sendable(text: str) -> str:
    """The text with its lone surrogates replaced, since UTF-8 cannot encode them."""
    return str.encode(text, "utf-8", "replace").decode()


def _type_name(kind: type[BaseException]) -> str:
    try:
        name = text_of(kind.__qualname__)
        module = text_of(kind.__module__)
    except BaseException:
        return "exception"
    return name if module == "builtins" else f"{module}.{name}"


def _stack(error: BaseException) -> str:
    try:
        told = traceback.TracebackException(
            type(error), error, error.__traceback__, limit=-_MAX_FRAMES, compact=True
        )
        # A long message must not push the frames out.
        return "".join(_head(text_of(line), MAX_MESSAGE_BYTES, "...\n") for line in told.format())
    except BaseException:
        return ""


def _head(text: str, most_bytes: int, mark: str = "...") -> str:
    raw = text.encode()
    if len(raw) <= most_bytes:
        return text
    return raw[: most_bytes - len(mark)].decode(errors="ignore") + mark


def _tail(text: str, most_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most_bytes else "..." + raw[3 - most_bytes :].decode(errors="ignore")
