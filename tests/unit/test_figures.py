"""Figures: numbers, bounded labels, and the text that Prometheus reads, checked by prometheus-client's own parsers."""

from __future__ import annotations

import math
import time

import pytest

from tests.support.scraped import Scraped
from weft.coordinator.store.task_figures import StoreFigures, TaskEvent, attempt_event, observe
from weft.rpc.telemetry.call_figures import MOST, CallFigures
from weft.rpc.telemetry.exposition import content_type, encode, prometheus_name, sample_name
from weft.rpc.telemetry.figures import OTHER, Figures, MetricSpec

COUNTED = MetricSpec("weft.x.counted", "counter", "{x}", 'Says "so" \\ and\nso.', ("weft.why",))
TIMED = MetricSpec("weft.x.duration", "histogram", "s", "Times.", ("method",), (0.1, 1.0))
SIZED = MetricSpec("weft.x.size", "gauge", "By", "Sizes.")
SHARE = MetricSpec("weft.x.utilization", "gauge", "1", "Shares.", ("a", "b"))


@pytest.mark.parametrize("openmetrics", [True, False])
def test_prometheus_reads_every_kind(openmetrics: bool) -> None:
    figures = Figures()
    figures.counters(COUNTED).of('a"b\\c\nd').add(3)
    histogram = figures.histograms(TIMED).of("m")
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    figures.ask(SIZED, lambda: 12)
    figures.ask(SHARE, lambda: [(("x", "y"), 0.25), (("x", "z"), math.inf)])
    found = Scraped.of(figures, openmetrics=openmetrics)
    assert {family.type for family in found.families.values()} == {"counter", "gauge", "histogram"}
    assert found.families["weft_x_counted"].documentation == COUNTED.text
    assert found.value("weft_x_counted_total", weft_why='a"b\\c\nd') == 3
    # A value at a bound belongs to its bucket.
    buckets = [
        (each, found.value("weft_x_duration_seconds_bucket", le=each)) for each in ("0.1", "1.0", "+Inf")
    ]
    assert buckets == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert found.value("weft_x_duration_seconds_count", method="m") == 4
    assert found.value("weft_x_duration_seconds_sum", method="m") == pytest.approx(7.65)
    assert found.value("weft_x_size_bytes") == 12
    assert found.value("weft_x_utilization_ratio", a="x", b="y") == 0.25
    assert found.value("weft_x_utilization_ratio", b="z") == math.inf


def test_exemplars_name_a_recent_trace_of_each_bucket() -> None:
    figures = Figures()
    histogram = figures.histograms(TIMED).of("m")
    histogram.observe_traced(0.5, f"00-{'1' * 32}-{'2' * 16}-00")
    for number in range(20):
        digits = "a" if number < 17 else "c"
        histogram.observe_traced(0.6 + number / 100, f"00-{digits * 32}-{'b' * 16}-01")
    samples = Scraped.of(figures).families["weft_x_duration_seconds"].samples
    (exemplar,) = [sample.exemplar for sample in samples if sample.exemplar]
    assert (exemplar.labels, exemplar.value) == ({"trace_id": "a" * 32, "span_id": "b" * 16}, 0.76)
    assert histogram.counts[1] == 21
    assert abs(float(exemplar.timestamp) - time.time()) < 60
    assert "trace_id" not in Scraped.of(figures, openmetrics=False).text


def test_only_sampled_traces_are_exemplars() -> None:
    of_method = StoreFigures().of("m")
    observe(of_method.wait, [0.5], 0.5, f"00-{'1' * 32}-{'2' * 16}-00")
    assert of_method.wait.exemplars is None
    observe(of_method.wait, [0.5], 0.5, f"00-{'1' * 32}-{'2' * 16}-01")
    assert of_method.wait.exemplars is not None


def test_a_format_is_chosen_by_what_the_scraper_accepts() -> None:
    assert content_type("application/openmetrics-text;version=1.0.0,text/plain;q=0.5").startswith(
        "application/"
    )
    assert content_type("*/*").startswith("text/plain")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (MetricSpec("a.b", "counter", "{task}", ""), "a_b_total"),
        (MetricSpec("a.cpu.time", "counter", "s", ""), "a_cpu_time_seconds_total"),
        (MetricSpec("a.io", "counter", "By", ""), "a_io_bytes_total"),
        (MetricSpec("a.b", "gauge", "1", ""), "a_b_ratio"),
        (MetricSpec("a.b", "histogram", "s", ""), "a_b_seconds"),
    ],
)
def test_names_have_base_units(spec: MetricSpec, name: str) -> None:
    assert sample_name(spec) == name
    assert prometheus_name(spec) == name.removesuffix("_total")


def test_a_number_that_cannot_be_asked_for_is_left_out() -> None:
    figures = Figures()
    figures.ask(SIZED, lambda: 1 // 0)
    figures.counters(COUNTED).of("a").add()
    found = Scraped.of(figures)
    assert set(found.families) == {"weft_x_counted"}
    assert figures.failures == 1


def test_parts_share_the_bound_on_methods() -> None:
    whole, part = Figures(max_methods=2), Figures()
    whole.include(part)
    assert [whole.names.label("a"), part.names.label("b"), whole.names.label("c")] == ["a", "b", OTHER]
    assert part.names.label("a") == "a"


def test_a_family_has_a_bound_of_its_own() -> None:
    family = Figures().counters(MetricSpec("x", "counter", "1", "", ("a", "b")), most=3)
    for number in range(10):
        family.of(str(number), "b").add()
    points = dict(family.read().points)
    assert len(points) == 4
    assert points[OTHER, "b"] == 7


# docs/how-to/metrics.md states these.
SERIES_A_METHOD = 13 + 2 * 16
SERIES_OF_CALLS = (MOST + 17) * 17


@pytest.mark.slow
def test_series_and_a_scrape_of_a_large_fleet_are_bounded() -> None:
    """10,000 tasks over 500 agents and 300 methods, and callers who make names up."""
    figures, store = Figures(), StoreFigures()
    figures.include(store.figures)
    calls = CallFigures(figures)
    for number in range(10_000):
        method = f"acme.research.v1.Service{number % 300}/Summarize"
        of_method = store.of(method)
        of_method.counts[TaskEvent.SUBMITTED] += 1
        of_method.counts[attempt_event(number % 17, crashed=False)] += 1
        of_method.counts[TaskEvent.SUCCEEDED] += 1
        observe(of_method.wait, [number / 1000], number / 1000, f"00-{number:032x}-{'2' * 16}-01")
        of_method.run.observe(number / 100)
        calls.observe(method, number % 3, 0.01)
        calls.observe(f"made.up.v1.Name{number}/Call", 12, 0.01)
    grown = Scraped.of(figures).series
    assert grown <= 300 * SERIES_A_METHOD + SERIES_OF_CALLS + 30
    # More of the same adds nothing: figures do not grow with time, tasks or agents.
    for number in range(10_000):
        store.of(f"acme.research.v1.Service{number % 300}/Summarize").run.observe(number / 7)
        calls.observe(f"made.up.v2.Name{number}/Call", 12, 0.01)
    assert Scraped.of(figures).series == grown
    # CPU time, the best of three: other tests run meanwhile.
    took_s = []
    for _ in range(3):
        began_s = time.thread_time()
        encode(figures.read())
        took_s.append(time.thread_time() - began_s)
    assert min(took_s) < 0.2, took_s


def test_methods_beyond_the_bound_share_one_name() -> None:
    figures, store = Figures(max_methods=10), StoreFigures()
    figures.include(store.figures)
    calls = CallFigures(figures)
    for number in range(1000):
        store.of(f"m{number}").counts[TaskEvent.SUBMITTED] += 1
        calls.observe(f"m{number}", 0, 0.1)
    found = Scraped.of(figures)
    assert found.value("weft_tasks_submitted_total", method=OTHER) == 990
    assert found.value("weft_tasks_submitted_total", method="m3") == 1
    assert found.value("rpc_server_call_duration_seconds_count", rpc_method=OTHER) == 990
    assert found.series <= 11 * SERIES_A_METHOD + 11 * 17 + 30
