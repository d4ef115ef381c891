"""Figures among the metrics of OpenTelemetry's SDK, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import opentelemetry.metrics
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Metric, MetricExporter, MetricExportResult, MetricsData

from weft.rpc.telemetry import metrics_export
from weft.rpc.telemetry.figures import Figures, MetricSpec

TIMED = MetricSpec("weft.x.duration", "histogram", "s", "Times.", ("method",), (0.1, 1.0))
COUNTED = MetricSpec("weft.x.counted", "counter", "{x}", "Counts.", ("why",))


class Keeping(MetricExporter):
    """Keeps the metrics of the last export, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Metric] = {}

    def export(self, metrics_data: MetricsData, *_: Any, **__: Any) -> MetricExportResult:
        self.metrics = {
            metric.name: metric
            for process in metrics_data.resource_metrics
            for scope in process.scope_metrics
            for metric in scope.metrics
        }
        return MetricExportResult.SUCCESS

    def force_flush(self, *_: Any, **__: Any) -> bool:
        return True

    def shutdown(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeping]:
    keeping = Keeping()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "keeping")
    monkeypatch.setattr(metrics_export, "exporters", lambda _: [keeping])
    return keeping


def test_a_program_s_own_instruments_go_out_with_the_figures(
    exporter: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[MeterProvider] = []
    monkeypatch.setattr(opentelemetry.metrics, "set_meter_provider", given.append)
    figures = Figures()
    histogram = figures.histograms(TIMED).of("m")
    histogram.observe_traced(0.05, f"00-{'a' * 32}-{'b' * 16}-01")
    # Ids that a caller has made up are no exemplar, and no failure.
    histogram.observe_traced(5.0, "00-no hexadecimal number-x-01")
    figures.counters(COUNTED).of("because").add(2)
    provider = metrics_export.set_up_metrics("weft-agent", "a1", figures)
    assert provider is not None
    assert given == [provider]
    provider.get_meter("the program's").create_counter("its.own").add(3)
    provider.force_flush()
    found = exporter.metrics
    assert found.keys() == {"process.uptime", "its.own", "weft.x.duration", "weft.x.counted"}
    (point,) = found["weft.x.duration"].data.data_points
    assert (point.count, point.bucket_counts, point.explicit_bounds) == (2, [1, 0, 1], [0.1, 1.0])
    assert [(each.trace_id, each.span_id) for each in point.exemplars] == [
        (int("a" * 32, 16), int("b" * 16, 16))
    ]
    (counted,) = found["weft.x.counted"].data.data_points
    assert (counted.value, counted.attributes) == (2.0, {"why": "because"})
    metrics_export.shut_down_metrics(provider)


def test_nothing_is_set_up_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OTEL_METRICS_EXPORTER",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    assert metrics_export.set_up_metrics("weft-agent", "a1", Figures()) is None
    metrics_export.shut_down_metrics(None)
