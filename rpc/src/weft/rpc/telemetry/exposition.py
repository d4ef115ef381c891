"""Figures as text for Prometheus: OpenMetrics 1.0, with exemplars, or Prometheus' older text format 0.0.4. Pure.

Written here, not by prometheus-client, whose writer takes 11 to 15 µs a line: 300 methods have some 20,000 lines, and the writer
holds up the event loop meanwhile. The tests read this text with prometheus-client's parsers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from weft.rpc.telemetry.figures import Exemplar, HistogramPoint, Labels, MetricSpec, Reading

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

_UNITS = {"s": "seconds", "By": "bytes", "1": "ratio"}
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def prometheus_name(spec: MetricSpec) -> str:
    """The metric's name at Prometheus, by OpenTelemetry's rules, without the `_total` of a counter."""
    name = spec.name.replace(".", "_")
    unit = unit_name(spec)
    return f"{name}_{unit}" if unit and not name.endswith(f"_{unit}") else name


def unit_name(spec: MetricSpec) -> str:
    """The unit at Prometheus; empty: a number of things."""
    return "" if spec.kind == "counter" and spec.unit == "1" else _UNITS.get(spec.unit, "")


def sample_name(spec: MetricSpec) -> str:
    """The name that a query uses: with `_total` for a counter; of a histogram, without `_bucket`."""
    return prometheus_name(spec) + ("_total" if spec.kind == "counter" else "")


def content_type(accept: str) -> str:
    """The format for a scraper that accepts these."""
    return OPENMETRICS if "application/openmetrics-text" in accept else PLAIN


def encode(readings: Iterable[Reading], kind: str = OPENMETRICS) -> bytes:
    """The text of all readings. Readings of one metric, which may come from several parts, are put together."""
    together: dict[str, list[Reading]] = {}
    for reading in readings:
        together.setdefault(reading.spec.name, []).append(reading)
    openmetrics = kind == OPENMETRICS
    lines: list[str] = []
    for group in together.values():
        lines += _head(group[0].spec, openmetrics=openmetrics)
        for reading in group:
            for labels, point in reading.points:
                if isinstance(point, HistogramPoint):
                    lines += _histogram(reading.spec, labels, point, openmetrics=openmetrics)
                else:
                    lines.append(_sample(sample_name(reading.spec), _labels(reading.spec, labels), point))
    if openmetrics:
        lines.append("# EOF")
    lines.append("")
    return "\n".join(lines).encode()


def _head(spec: MetricSpec, *, openmetrics: bool) -> Iterator[str]:
    # In the older format, a counter's name includes its suffix.
    name = prometheus_name(spec) if openmetrics else sample_name(spec)
    yield f"# HELP {name} {spec.text.translate(_HELP_ESCAPES)}"
    yield f"# TYPE {name} {spec.kind}"
    unit = unit_name(spec)
    if openmetrics and unit:
        yield f"# UNIT {name} {unit}"


def _sample(name: str, labels: str, value: float) -> str:
    return f"{name}{{{labels}}} {_number(value)}" if labels else f"{name} {_number(value)}"


def _histogram(
    spec: MetricSpec, labels: Labels, point: HistogramPoint, *, openmetrics: bool
) -> Iterator[str]:
    counts, total, exemplars = point
    name, text = prometheus_name(spec), _labels(spec, labels)
    start = f"{name}_bucket{{{text},le=" if text else f"{name}_bucket{{le="
    seen = 0
    for at, count in enumerate(counts):
        seen += count
        bound = _number(spec.bounds[at]) if at < len(spec.bounds) else "+Inf"
        line = f'{start}"{bound}"}} {seen}'
        yield f"{line}{_exemplar(exemplars[at])}" if openmetrics and at in exemplars else line
    yield _sample(f"{name}_count", text, seen)
    yield _sample(f"{name}_sum", text, total)


def _exemplar(exemplar: Exemplar) -> str:
    value, trace, at = exemplar
    trace_id, _, span_id = trace.translate(_ESCAPES).partition("-")
    return f' # {{trace_id="{trace_id}",span_id="{span_id}"}} {_number(value)} {at:.3f}'


def _labels(spec: MetricSpec, values: Labels) -> str:
    return ",".join(
        f'{name.replace(".", "_")}="{value.translate(_ESCAPES)}"'
        for name, value in zip(spec.labels, values, strict=True)
    )


def _number(value: float) -> str:
    if math.isinf(value) or math.isnan(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    # OpenMetrics has bounds as floats: "1.0".
    return repr(float(value))
