"""Checks a chain of events, line by line: what was changed, removed or put in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from weft.coordinator.audit.audit_event import digest_of, line_of, record_of

# Of one line; an event is far shorter.
MAX_LINE_BYTES = 64 * 1024


class ChainFault(NamedTuple):
    """What is wrong at a line."""

    line: int
    what: str


class ChainCheck:
    """A check of lines in their order. Read `faults`, then the rest.

    Args:
        expected: digests of events that must be there; `missing` has those that were not found.
    """

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self.missing = set(expected)
        self.events = 0
        self.first_time = ""
        self.last_time = ""
        # The digest before the first event, and that of the last one.
        self.began_after = ""
        self.last_digest = ""

    def faults(self, lines: Iterable[bytes]) -> Iterator[ChainFault]:
        """What is wrong.

        Args:
            lines: of one file, or of several in their order.
        """
        cut = False
        for number, line in enumerate(lines, 1):
            try:
                record = record_of(line)
                digest = digest_of(record)
                named, previous = str(record.get("digest")), str(record.get("previous"))
                whole = line_of(record) == line.rstrip(b"\n")
            except (ValueError, TypeError):
                yield ChainFault(number, "it is no event: a process that ended while it wrote, or a change")
                cut = True
                continue
            if named != digest or not whole:
                yield ChainFault(number, "it was changed: its digest is another one")
            if self.events and previous != self.last_digest:
                yield ChainFault(number, _gap(cut=cut))
            if not self.events:
                self.began_after, self.first_time = previous, str(record.get("time"))
            cut = False
            self.events += 1
            self.last_digest, self.last_time = named, str(record.get("time"))
            self.missing.discard(named)


def _gap(*, cut: bool) -> str:
    return (
        "it does not follow the last whole event before it: events are missing"
        if cut
        else "it does not follow the event before it: events were removed, put in, or moved, or could not be written"
    )
