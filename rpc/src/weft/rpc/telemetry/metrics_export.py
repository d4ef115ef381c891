"""Export of a process' figures by OTLP, and by any other installed exporter, as the standard OTEL_* variables ask for it.

    Figures ──────────────────────────────┐
    the program's own OpenTelemetry ──────┴─► one reader, every OTEL_METRIC_EXPORT_INTERVAL ─► exporters

The SDK is imported only if the environment asks for export. Values are cumulative since the process' start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.figures import Exemplar, Figures, HistogramPoint, Labels, MetricSpec, Reading
from weft.rpc.telemetry.providers import FLUSH_S, exporters, resource

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

_log = get_logger("weft.telemetry")

_SCOPE = "weft"
_UPTIME = "process.uptime"
# OpenTelemetry's placeholder for a provider, while the program has set up none.
_STAND_IN = "_ProxyMeterProvider"


def set_up_metrics(service: str, instance_id: str, figures: Figures) -> MeterProvider | None:
    """Export these figures, and the program's own instruments, if the environment asks for it; None: it does not.

    Args:
        service: the name of the process' kind, such as "weft-agent".
        instance_id: unique among the processes of this kind.
    """
    made = exporters("metrics")
    if not made:
        return None
    from opentelemetry import metrics
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider

    began_ns = time.time_ns()
    about = resource(service, instance_id)
    readers = [_reader(exporter, figures, began_ns) for exporter in made]
    provider = MeterProvider(metric_readers=readers, resource=about, shutdown_on_exit=False)

    def uptime(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation((time.time_ns() - began_ns) / 1e9)

    # Without any instrument of its own, the SDK would export nothing.
    provider.get_meter(_SCOPE).create_observable_gauge(
        _UPTIME, [uptime], unit="s", description="Since the process began."
    )
    # A program that has set up a provider of its own keeps it: only weft's figures are exported then.
    if type(metrics.get_meter_provider()).__name__ == _STAND_IN:
        metrics.set_meter_provider(provider)
    return provider


def shut_down_metrics(provider: MeterProvider | None, timeout_s: float = FLUSH_S) -> None:
    """Send the newest values, and end the exporters, within the time."""
    if provider is None:
        return
    # An exporter whose receiver is away would try again for longer than the process may live.
    ending = threading.Thread(target=provider.shutdown, name="weft-metrics-end", daemon=True)
    ending.start()
    ending.join(timeout_s)
    if ending.is_alive():
        _log.warning(
            "telemetry.last_lost", timeout_s=timeout_s, effect="the last metrics were not sent in time"
        )


def _reader(exporter: Any, figures: Figures, began_ns: int) -> Any:
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    class FiguresReader(PeriodicExportingMetricReader):
        """Adds the figures to what the SDK has collected."""

        def _receive_metrics(self, metrics_data: MetricsData, *args: Any, **named: Any) -> None:
            super()._receive_metrics(_with_figures(metrics_data, figures, began_ns), *args, **named)

    return FiguresReader(exporter)


def _with_figures(collected: MetricsData, figures: Figures, began_ns: int) -> MetricsData:
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics

    now_ns = time.time_ns()
    together: dict[str, list[Reading]] = {}
    for reading in figures.read():
        if reading.points:
            together.setdefault(reading.spec.name, []).append(reading)
    own = [_metric(readings, began_ns, now_ns) for readings in together.values()]
    (first, *rest) = collected.resource_metrics
    # In the scope that is there: an exporter drops one of two with the same name.
    scopes = [
        ScopeMetrics(each.scope, [*each.metrics, *own], each.schema_url)
        if each.scope.name == _SCOPE
        else each
        for each in first.scope_metrics
    ]
    return MetricsData([ResourceMetrics(first.resource, scopes, first.schema_url), *rest])


def _metric(readings: list[Reading], began_ns: int, now_ns: int) -> Metric:
    from opentelemetry.sdk.metrics import export

    spec = readings[0].spec
    points = [
        _point(reading.spec, labels, value, began_ns, now_ns)
        for reading in readings
        for labels, value in reading.points
    ]
    data: Any
    cumulative = export.AggregationTemporality.CUMULATIVE
    if spec.kind == "histogram":
        data = export.Histogram(points, cumulative)
    elif spec.kind == "counter":
        data = export.Sum(points, cumulative, is_monotonic=True)
    else:
        data = export.Gauge(points)
    return export.Metric(spec.name, spec.text, spec.unit, data)


def _point(
    spec: MetricSpec, labels: Labels, value: float | HistogramPoint, began_ns: int, now_ns: int
) -> Any:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint, NumberDataPoint

    attributes = dict(zip(spec.labels, labels, strict=True))
    if not isinstance(value, HistogramPoint):
        return NumberDataPoint(attributes, began_ns, now_ns, float(value))
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=began_ns,
        time_unix_nano=now_ns,
        count=sum(value.counts),
        sum=value.total,
        bucket_counts=list(value.counts),
        explicit_bounds=list(spec.bounds),
        min=None,  # type: ignore[arg-type]  # not kept, and optional on the wire
        max=None,  # type: ignore[arg-type]
        exemplars=[made for each in value.exemplars.values() if (made := _exemplar(each)) is not None],
    )


def _exemplar(exemplar: Exemplar) -> Any:
    """The exemplar; None: a caller has made its ids up."""
    from opentelemetry.sdk.metrics import Exemplar as SdkExemplar

    value, trace, at = exemplar
    trace_id, _, span_id = trace.partition("-")
    try:
        return SdkExemplar({}, value, int(at * 1e9), int(span_id, 16), int(trace_id, 16))
    except ValueError:
        return None
