"""The benchmark's arithmetic."""

from __future__ import annotations

import pytest

from weft.cli.bench.bench_command import figures
from weft.cli.bench.bench_subject import BenchSubject
from weft.cli.bench.event_sample import EventSample
from weft.cli.bench.measure import Sample, quantile_of


def sample(prefix: str, rate: str, latencies_s: list[float], rates: list[float]) -> Sample:
    async def nothing(*_: object) -> None: ...

    subject = BenchSubject(prefix=prefix, title=prefix, call=nothing, burst=nothing, rate=rate)
    return Sample(subject, latencies_s, rates)


@pytest.mark.parametrize(
    ("values", "quantile", "wanted"),
    [
        ([3], 0.5, 3),
        ([1, 2], 0.5, 1),
        ([5, 1, 3], 0.5, 3),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 1.0, 100),
    ],
)
def test_quantiles_are_measured_values(values: list[float], quantile: float, wanted: float) -> None:
    assert quantile_of(list(values), quantile) == wanted


def test_flat_keys() -> None:
    raw = sample("raw_unary", "per_s", [0.0005], [7000.0])
    durable = sample("embedded_process", "tasks_per_s", [0.001, 0.001, 0.004], [9000.0, 11000.0, 12000.0])
    direct = sample("direct", "per_s", [0.0006, 0.0006, 0.001], [6500.0, 6300.0, 6700.0])
    for each in (direct, durable):
        each.plain = raw
    assert figures([raw, direct, durable]) == {
        "raw_unary_p50_ms": 0.5,
        "raw_unary_per_s": 7000,
        "direct_per_s": 6500,
        "direct_p50_ms": 0.6,
        "direct_p99_ms": 1.0,
        "direct_p50_ratio": 1.2,
        "direct_per_s_ratio": 0.93,
        "embedded_process_tasks_per_s": 11000,
        "embedded_process_p50_ms": 1.0,
        "embedded_process_p99_ms": 4.0,
        "embedded_process_p50_ratio": 2.0,
    }


def test_keys_of_events() -> None:
    sample = EventSample(
        prefix="events_redis",
        title="Redis",
        published_per_s=9999.6,
        delivered_per_s=999_960.4,
        late_p50_ms=100.04,
        late_p99_ms=250.06,
        missed=0,
        slow_missed=17,
        replayed=50_000,
        replayed_per_s=33_333.3,
        memory_mib=99.96,
        cpu_us={"coordinator": 40.04, "subscribers": 59.96},
    )
    assert figures([], [sample]) == {
        "events_redis_per_s": 10_000,
        "events_redis_delivered_per_s": 999_960,
        "events_redis_late_p50_ms": 100.0,
        "events_redis_late_p99_ms": 250.1,
        "events_redis_missed": 0,
        "events_redis_slow_missed": 17,
        "events_redis_replayed": 50_000,
        "events_redis_replayed_per_s": 33_333,
        "events_redis_memory_mib": 100.0,
        "events_redis_two_cores_per_s": 20_000,
        "events_redis_coordinator_cpu_us_per_event": 40.0,
        "events_redis_subscribers_cpu_us_per_event": 60.0,
    }
