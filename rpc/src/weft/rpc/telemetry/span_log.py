"""The spans that wait to be exported: weft's own records and the SDK's spans, in one bounded queue with one thread.

    record, at once ─► queue ─► thread: encode, a few at a time ─► exporters

If the queue is full, spans are dropped and counted; a line says so. Export never slows a call.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.span_records import Recorded, SpanRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_log = get_logger("weft.telemetry")

# The standard's own defaults are for programs with few spans.
MAX_QUEUE = 65_536
MAX_BATCH = 2048
DELAY_S = 1.0
# Dropped spans are told of at most so often.
_TELL_S = 60.0
# Between so many records the thread lets others run: encoding holds the interpreter's lock.
_SLICE = 64


class SpanSink(Protocol):
    """Takes batches to one place. Called in the log's thread; it may block and raise."""

    def export(self, records: Sequence[SpanRecord], spans: Sequence[ReadableSpan]) -> bool:
        """Export weft's records and the SDK's spans. False: they were not taken."""
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
        self._delay_s = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", DELAY_S * 1000) / 1000
        self._most = int(_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE))
        self._batch = min(self._most, int(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH)))
        self._queue: deque[Any] = deque()
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

    def add(self, span: Recorded | ReadableSpan) -> None:
        """Take a span that is over. From any thread."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._most:
            self.dropped += 1
            return
        queue.append(span)
        if waiting + 1 == self._batch:
            self._due.set()

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
            if len(self._queue) < self._batch and not self._closing:
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
        queue = self._queue
        records: list[SpanRecord] = []
        spans: list[ReadableSpan] = []
        for count in range(min(len(queue), self._batch)):
            span = queue.popleft()
            if hasattr(span, "record"):
                if (record := span.record()) is not None:
                    records.append(record)
            else:
                spans.append(span)
            if count % _SLICE == 0:
                time.sleep(0)
        for sink in self._sinks:
            count = len(records) + len(spans)
            try:
                taken = sink.export(records, spans)
            except Exception as error:
                taken = False
                _log.warning("telemetry.export_failed", signal="traces", spans=count, error=repr(error))
            if not taken:
                self.failed += count

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
