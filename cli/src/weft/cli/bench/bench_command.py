"""`weft bench`: the command, its table and its line of JSON."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from weft.cli.bench.bench_subject import BenchSubject
from weft.cli.bench.event_sample import EventSample, print_events
from weft.cli.bench.measure import QUICK, THOROUGH, Effort, Sample, measure
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import Json
from weft.cli.process.children import Children, run
from weft.cli.terminal import output, tables
from weft.cli.terminal.failure import Failure
from weft.rpc.security.tls import VARIABLES

_Scenario = Callable[[Children, str], AbstractAsyncContextManager[Sequence[BenchSubject]]]
_KINDS = ("calls", "events")
_UNITS = {"per_s": "calls/s", "tasks_per_s": "tasks/s"}


class _Found(NamedTuple):
    """What was measured."""

    samples: list[Sample]
    events: list[EventSample]


@examples(
    "weft bench --quick",
    "weft bench --json",
    "weft bench --only events",
)
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Measure for about a minute.")] = False,
    only: Annotated[
        str, typer.Option(metavar="|".join(_KINDS), help="Measure these alone. [default: both]")
    ] = "",
    as_json: Json = False,
) -> None:
    """Measure direct and durable calls beside plain gRPC calls, and events: to many live subscribers, and replayed.

    Of calls: the throughput of many at once, and the latency of single ones. All processes run on this machine: a plain server; an agent
    and two sidecars for direct calls; a coordinator and two agents for each store and durability; 100 subscribers of events; and Redis, if
    redis-server is installed. With WEFT_TLS_*, coordinators, agents and their callers
    use TLS: a certificate for 127.0.0.1 serves all of them.
    """
    if only not in {"", *_KINDS}:
        raise Failure(f"--only is {only!r}; it must be {' or '.join(_KINDS)}", status=2)
    with (
        tempfile.TemporaryDirectory(prefix="weft-bench-") as name,
        Children(Path(name), passed_on=VARIABLES.values()) as children,
    ):
        found = _Found([], [])
        try:
            run(_measure(children, found, only, quick=quick))
        except Exception:
            # Print the figures that were measured before the failure.
            if found.samples or found.events:
                _report(found, as_json=as_json)
            raise
    _report(found, as_json=as_json)


def _report(found: _Found, *, as_json: bool) -> None:
    if as_json:
        output.line(output.json_text(figures(found.samples, found.events)))
        return
    output.line(machine())
    if found.samples:
        _print(found.samples)
    if found.events:
        print_events(found.events)


async def _measure(children: Children, found: _Found, only: str, *, quick: bool) -> None:
    """Measure kind by kind. `found` has what was measured, also if the rest fails."""
    from weft.cli.bench.redis_process import redis_missing

    missing = redis_missing()
    if missing is not None:
        output.remark(f"the Redis store is not measured: {missing}")
    if only != "events":
        effort = QUICK if quick else THOROUGH
        await _measure_calls(children, effort, found.samples, with_redis=missing is None)
    if only != "calls":
        await _measure_events(children, found.events, quick=quick, with_redis=missing is None)


async def _measure_calls(
    children: Children, effort: Effort, samples: list[Sample], *, with_redis: bool
) -> None:
    """Measure group by group. `samples` has the samples of finished groups, also if a later group fails."""
    from weft.cli.bench.direct_subjects import direct
    from weft.cli.bench.durable_subjects import embedded, redis
    from weft.cli.bench.raw_subject import plain_server, raw_unary

    # One group at a time, each with its own plain call: other groups' processes would disturb it.
    groups: list[list[_Scenario]] = [
        [direct],
        [partial(embedded, durability="process"), partial(embedded, durability="full")],
    ]
    if with_redis:
        groups.append([redis])
    for number, scenarios in enumerate(groups):
        folder = children.folder / str(number)
        folder.mkdir()
        with Children(folder, passed_on=VARIABLES.values()) as own:
            async with AsyncExitStack() as stack:
                output.remark("starting the processes")
                plain = await plain_server(own)
                subjects = [await stack.enter_async_context(raw_unary(plain))]
                for scenario in scenarios:
                    subjects += await stack.enter_async_context(scenario(own, plain))
                found = await measure(subjects, effort, output.remark)
        samples += found[1:] if samples else found


async def _measure_events(
    children: Children, events: list[EventSample], *, quick: bool, with_redis: bool
) -> None:
    """Measure store by store. `events` has the samples of finished ones, also if a later one fails."""
    from weft.cli.bench.event_bench import QUICK_EVENTS, THOROUGH_EVENTS, embedded_events, redis_events

    effort = QUICK_EVENTS if quick else THOROUGH_EVENTS
    for store, measured in (("embedded", embedded_events), ("redis", redis_events)):
        if store == "redis" and not with_redis:
            continue
        folder = children.folder / f"events-{store}"
        folder.mkdir()
        output.remark(f"measuring events, {store}")
        with Children(folder, passed_on=VARIABLES.values()) as own:
            events.append(await measured(own, effort))


def figures(samples: Sequence[Sample], events: Sequence[EventSample] = ()) -> dict[str, float]:
    """The JSON line: latency and rate of each subject, and their ratios to those of the first subject, the plain call; and of events."""
    return {**_of_calls(samples), **{key: value for each in events for key, value in each.figures().items()}}


def _of_calls(samples: Sequence[Sample]) -> dict[str, float]:
    if not samples:
        return {}
    raw = samples[0]
    found = {
        f"{raw.subject.prefix}_p50_ms": round(raw.latency_ms(0.5), 3),
        f"{raw.subject.prefix}_{raw.subject.rate}": round(raw.rate_per_s),
    }
    for sample in samples[1:]:
        prefix = sample.subject.prefix
        found[f"{prefix}_{sample.subject.rate}"] = round(sample.rate_per_s)
        found[f"{prefix}_p50_ms"] = round(sample.latency_ms(0.5), 3)
        found[f"{prefix}_p99_ms"] = round(sample.latency_ms(0.99), 3)
        found[f"{prefix}_p50_ratio"] = round(sample.ratio, 2)
        if sample.rate_ratio is not None:
            found[f"{prefix}_{sample.subject.rate}_ratio"] = round(sample.rate_ratio, 2)
        for name, used_us in sample.cpu_us.items():
            found[f"{prefix}_{name}_cpu_us_per_task"] = round(statistics.median(used_us), 1)
    return found


def machine() -> str:
    """The machine and the versions of the measurement, in one line."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # Windows has none.
    loop = ["uvloop"] if find_spec("uvloop") else []
    versions = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "protobuf", *loop, "weft"))
    return f"{cores} cores of {model}, {platform.system()}, Python {platform.python_version()}, {versions}"


def _print(samples: Sequence[Sample]) -> None:
    tables.print_rows(
        (
            tables.Column(""),
            tables.Column("rate", right=True),
            tables.Column("rate ratio", right=True, spare=1),
            tables.Column("p50", right=True),
            tables.Column("p99", right=True),
            tables.Column("ratio", right=True),
            tables.Column("CPU a task", below=True),
        ),
        [
            (
                sample.subject.title,
                f"{sample.rate_per_s:,.0f} {_UNITS[sample.subject.rate]}",
                "" if sample.rate_ratio is None else f"{sample.rate_ratio:.2f}x",
                f"{sample.latency_ms(0.5):.2f} ms",
                f"{sample.latency_ms(0.99):.2f} ms",
                f"{sample.ratio:.2f}x",
                ", ".join(f"{name} {statistics.median(used):.0f} µs" for name, used in sample.cpu_us.items()),
            )
            for sample in samples
        ],
        "nothing was measured",
    )
    output.remark("ratio: the p50 divided by that of a plain call, measured beside it")
