"""A fuzz target: a parser that faces the network or a file, given any bytes.

It must return, or raise one of its typed errors, in bounded time. A target that finds anything else raises AssertionError itself, as
when what was parsed is not the same after a round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weft.rpc.errors import WeftError

Run = Callable[[bytes], object]
Seeds = Callable[[], Sequence[bytes]]

# Of CPU time, for one input.
MAX_S = 1.0
# Errors of rows that were damaged in the store: whoever reads one answers INTERNAL, and logs it.
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under test.

    Args:
        covers: the modules whose parsers it runs, as paths below `src`, without a suffix.
        raises: the typed errors, besides WeftError.
        seeds: valid inputs, to be changed.
        max_bytes: of an input.
        examples: how many each default test run tries.
    """

    name: str
    run: Run
    covers: tuple[str, ...]
    raises: tuple[type[Exception], ...]
    seeds: Seeds
    max_bytes: int
    examples: int

    def __call__(self, data: bytes) -> None:
        """Try an input.

        Raises:
            Exception: a finding.
        """
        try:
            self.run(data)
        except (WeftError, *self.raises):
            return


TARGETS: dict[str, Target] = {}


def target(
    *covers: str,
    seeds: Seeds,
    raises: tuple[type[Exception], ...] = (),
    max_bytes: int = 4096,
    examples: int = 20,
) -> Callable[[Run], Run]:
    """Put a function into the table, by its name."""

    def put(run: Run) -> Run:
        name = run.__name__
        assert name not in TARGETS, name
        TARGETS[name] = Target(name, run, covers, raises, seeds, max_bytes, examples)
        return run

    return put


def text_of(data: bytes) -> str:
    """Any text, also with lone surrogates: what a file or an argument may have."""
    return (
        data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")
        if _is_text(data)
        else (data.decode("latin-1"))
    )


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def parts_of(data: bytes, count: int) -> list[bytes]:
    """The data in so many parts: those before the last have their length before them, in two bytes."""
    parts, at = [], 0
    for _ in range(count - 1):
        size = int.from_bytes(data[at : at + 2], "big")
        parts.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return [*parts, data[at:]]


def joined(*parts: bytes) -> bytes:
    """What `parts_of` takes apart."""
    *first, last = parts
    return b"".join(len(each).to_bytes(2, "big") + each for each in first) + last
