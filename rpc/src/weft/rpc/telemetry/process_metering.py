"""The figures of this process as metrics: asked for at each reading, from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from weft.rpc.process import process_readings, steady_output
from weft.rpc.process.environment import NAMES, environment
from weft.rpc.telemetry import process_metrics as metrics
from weft.rpc.telemetry import span_log
from weft.rpc.telemetry.figures import Figures, Labels

if TYPE_CHECKING:
    from weft.rpc.security.tls_files import TlsFiles


def ask_process(figures: Figures) -> None:
    """Export the figures of this process."""
    figures.ask(metrics.PROCESS_CPU, _cpu_times)
    figures.ask(metrics.PROCESS_MEMORY, process_readings.memory)
    figures.ask(metrics.PROCESS_FILES, process_readings.open_files)
    figures.ask(metrics.PROCESS_THREADS, process_readings.threads)
    figures.ask(metrics.LINES_LOST, steady_output.lost_writes)
    figures.ask(metrics.SPANS_DROPPED, _spans_dropped)
    figures.ask(metrics.ENVIRONMENT, _environment)
    if process_readings.cpu_limit() is not None:
        figures.ask(metrics.CPU_LIMIT, lambda: process_readings.cpu_limit() or 0.0)
        figures.ask(metrics.THROTTLED, lambda: process_readings.throttled_s() or 0.0)
    if process_readings.memory_limit() is not None:
        figures.ask(metrics.MEMORY_LIMIT, lambda: process_readings.memory_limit() or 0.0)


def _environment() -> Iterator[tuple[Labels, float]]:
    found = environment()
    yield tuple(found.get(name, "") for name in NAMES), 1.0


def ask_certificate(figures: Figures, files: TlsFiles | None) -> None:
    """Export when the certificate of this process begins and ends, if it has one."""
    if files is None:
        return

    def begin() -> Iterator[tuple[Labels, float]]:
        # It may have been renewed.
        files.look()
        if files.material.own is not None:
            yield (), files.material.own.begins_s

    def end() -> Iterator[tuple[Labels, float]]:
        files.look()
        if files.material.own is not None:
            yield (), files.material.own.ends_s

    figures.ask(metrics.CERTIFICATE_BEGIN, begin)
    figures.ask(metrics.CERTIFICATE_END, end)


# Refused calls so far, by reason and role: what an edge keeps.
Denied = Callable[[], Iterable[tuple[tuple[str, str], float]]]


def ask_denied(figures: Figures, ports: Mapping[str, Denied]) -> None:
    """Export the refused calls of the ports of this process.

    Args:
        ports: by name. There may be more later.
    """

    def denied() -> Iterator[tuple[Labels, float]]:
        for port, ask in list(ports.items()):
            for (reason, role), calls in ask():
                yield (port, reason, role), calls

    figures.ask(metrics.DENIED, denied)


def _cpu_times() -> Iterator[tuple[Labels, float]]:
    user, system = process_readings.cpu_times()
    yield ("user",), user
    yield ("system",), system


def _spans_dropped() -> Iterator[tuple[Labels, float]]:
    for reason, spans in span_log.dropped_spans().items():
        yield (reason,), spans
