"""The spans that wait to be exported: weft's own records and the SDK's spans, in one bounded queue with one thread.

    a span is over ─► encoded at once, if all sinks take bytes ─► queue ─► thread ─► exporters

Encoded at once, a span leaves nothing behind that garbage collection looks at, and its values are still in the processor's caches: that
costs half as much as later. If the queue is full, spans are dropped and counted; a line says so. Export never waits for a receiver in a
call.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.span_records import Recorded

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_log = get_logger("weft.telemetry")

# The standard's own defaults are for programs with few spans.
MAX_QUEUE = 65_536
MAX_BATCH = 2048
DELAY_S = 1.0
# Dropped spans are told of at most so often.
_TELL_S = 60.0


class SpanSink(Protocol):
    """Takes batches to one place. Called in the log's thread; it may block and raise.

    Attributes:
        takes_encoded: it takes spans as `Recorded.encoded` makes them.
    """

    takes_encoded: bool

    def export(self, recorded: Sequence[Recorded | bytes], count: int, spans: Sequence[ReadableSpan]) -> bool:
        """Export weft's own spans, so many, and the SDK's. False: they were not taken."""
        ...

    def shutdown(self) -> None:
        """End; a waiting `export` gives up."""


class SpanLog:
    """The queue and its thread.

    Args:
        sinks: where spans go.
        environ: OTEL_BSP_SCHEDULE_DELAY (milliseconds), OTEL_BSP_MAX_QUEUE_SIZE and OTEL_BSP_MAX_EXPORT_BATCH_SIZE are read.
    """

    def __init__(self, sinks: Sequence[SpanSink], environ: Mapping[str, str]) -> None:
        self._sinks = sinks
        self._encodes = all(sink.takes_encoded for sink in sinks)
        self._delay_s = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", DELAY_S * 1000) / 1000
        self._most = int(_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE))
        self._batch = min(self._most, int(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH)))
        self._queue: deque[Any] = deque()
        # The spans that wait beside the first one of each entry.
        self._more = 0
        self._counting = threading.Lock()
        self._due = threading.Event()
        self._closing = False
        self._flushes: deque[threading.Event] = deque()
        # Spans lost because the queue was full, and because a receiver did not take them.
        self.dropped = self.failed = 0
        self._told = 0
        self._tell_at = 0.0
        self._thread = threading.Thread(target=self._run, name="weft-spans", daemon=True)
        self._thread.start()
        _logs.add(self)

    def add(self, span: Recorded | bytes | ReadableSpan) -> None:
        """Take a span that is over. From any thread."""
        queue = self._queue
        waiting = len(queue) + self._more
        if waiting >= self._most:
            self.dropped += 1
            return
        queue.append(span)
        if waiting + 1 == self._batch:
            self._due.set()

    def record(self, span: Recorded) -> None:
        """As `add`, for one of weft's own."""
        queue = self._queue
        waiting = len(queue) + self._more
        if not self._encodes or waiting >= self._most:
            self.add(span)
            return
        try:
            queue.append(span.encoded())
        except Exception as error:
            self._lost(1, error)
        if waiting + 1 == self._batch:
            self._due.set()

    def record_many(self, spans: Recorded) -> None:
        """As `record`, for several at a time."""
        waiting, count = self._waiting, spans.count
        if waiting + count > self._most:
            self.dropped += count
            return
        try:
            entry = _Several(spans.encoded() if self._encodes else spans, count)
        except Exception as error:
            self._lost(count, error)
            return
        with self._counting:
            self._more += count - 1
        self._queue.append(entry)
        if waiting < self._batch <= waiting + count:
            self._due.set()

    def _lost(self, count: int, error: Exception) -> None:
        """A fault in a span is none of the handler whose span it is."""
        self.failed += count
        _log.warning("telemetry.export_failed", signal="traces", spans=count, error=repr(error))

    @property
    def _waiting(self) -> int:
        return len(self._queue) + self._more

    def flush(self, timeout_s: float) -> bool:
        """Export what waits now; False: that takes longer than the timeout."""
        if not self._thread.is_alive():
            return not self._queue
        flushed = threading.Event()
        self._flushes.append(flushed)
        self._due.set()
        return flushed.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """As `flush`, and end."""
        self._closing = True
        self._due.set()
        self._thread.join(timeout_s)
        ended = not self._thread.is_alive()
        for sink in self._sinks:
            sink.shutdown()
        return ended

    # -- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not (self._closing and not self._queue):
            if self._waiting < self._batch and not self._closing:
                self._due.wait(self._delay_s)
                self._due.clear()
            flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
            if self._queue:
                self._export()
            while flushes and self._queue:
                self._export()
            for flushed in flushes:
                flushed.set()
            self._tell_of_dropped()

    def _export(self) -> None:
        recorded, spans, total = self._take()
        count = total + len(spans)
        for sink in self._sinks:
            try:
                taken = sink.export(recorded, total, spans)
            except Exception as error:
                self._lost(count, error)
                continue
            if not taken:
                self.failed += count

    def _take(self) -> tuple[list[Recorded | bytes], list[ReadableSpan], int]:
        """The next batch: weft's own spans, the SDK's, and how many weft's own are. Spans that came together stay together."""
        queue = self._queue
        recorded: list[Recorded | bytes] = []
        spans: list[ReadableSpan] = []
        total = 0
        while queue and total + len(spans) < self._batch:
            span = queue[0]
            if isinstance(span, _Several):
                if total and total + len(spans) + span.number > self._batch:
                    break
                recorded.append(span.spans)
                total += span.number
                with self._counting:
                    self._more -= span.number - 1
            elif isinstance(span, bytes) or hasattr(span, "encoded"):
                recorded.append(span)
                total += 1
            else:
                spans.append(span)
            queue.popleft()
        return recorded, spans, total

    def _tell_of_dropped(self) -> None:
        now = time.monotonic()
        if self.dropped > self._told and now >= self._tell_at:
            count, self._told = self.dropped - self._told, self.dropped
            self._tell_at = now + _TELL_S
            _log.warning(
                "telemetry.spans_dropped",
                spans=count,
                error="more spans came than are exported",
                do="sample fewer traces (OTEL_TRACES_SAMPLER), or set OTEL_BSP_MAX_QUEUE_SIZE",
            )


class _Several(NamedTuple):
    """Spans that came together."""

    spans: Recorded | bytes
    number: int


def dropped_spans() -> dict[str, int]:
    """The spans of this process that were not exported, by reason."""
    logs = list(_logs)
    return {"queue_full": sum(log.dropped for log in logs), "failed": sum(log.failed for log in logs)}


_logs: weakref.WeakSet[SpanLog] = weakref.WeakSet()


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    given = environ.get(name, "").strip()
    if not given:
        return default
    try:
        number = float(given)
    except ValueError:
        number = 0.0
    if number >= 1:
        return number
    _log.warning(
        "telemetry.bad_variable", variable=name, error=f"{given!r} is no number from 1 on", in_force=default
    )
    return default
