"""W3C trace context: the text of `traceparent`. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from weft.rpc.telemetry.span_records import SpanLink

# A version that is not known may have more at its end.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
# Tasks that are submitted together have the same one.
_REMEMBERED = 4096
# Of a `traceparent` as this version has it.
LENGTH = 55


class TraceContext(NamedTuple):
    """A span that another process has made."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def link(self) -> SpanLink:
        return SpanLink(self.trace_id, self.span_id)


@lru_cache(_REMEMBERED)
def parse(traceparent: str) -> TraceContext | None:
    """The span that a header names; None: it names none."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # All zeros are no ids. Version 0 has four parts, and there is no version 255.
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
