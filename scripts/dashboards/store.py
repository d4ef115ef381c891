"""The store, and the coordinators' work on it."""

from __future__ import annotations

from scripts.dashboards.form import Page, Panel, Query, Row, Variable
from scripts.dashboards.queries import RATE, quantile

_C = 'instance=~"$coordinator"'
_COORDINATOR = Variable(
    "coordinator", "Coordinator", "weft_store_writable", "instance", "Coordinators, as Prometheus knows them."
)

STORE = Page(
    "store",
    "store",
    "The store and the coordinators' work on it: writes, dispatch, what waits.",
    [_COORDINATOR],
    [
        Row(
            "At a glance",
            [
                Panel(
                    "Writable",
                    "1 while the store takes writes. At 0 no task is accepted.",
                    "short",
                    [Query(f"min(weft_store_writable{{{_C}}})")],
                    "stat",
                    least=1,
                    width=4,
                ),
                Panel(
                    "Unfinished",
                    "Tasks that are stored and have not ended.",
                    "short",
                    [Query("max(weft_tasks_unfinished)")],
                    "stat",
                    width=4,
                ),
                Panel(
                    "Writes",
                    "In a second.",
                    "ops",
                    [Query(f"sum(rate(weft_store_write_duration_seconds_count{{{_C}}}{RATE}))")],
                    "stat",
                    width=4,
                ),
                Panel(
                    "A write takes",
                    "99 %.",
                    "s",
                    [Query(quantile(0.99, "weft_store_write_duration_seconds", "", _C))],
                    "stat",
                    limits=(0.1, 1),
                    width=4,
                ),
                Panel(
                    "Tasks stored",
                    "In a second.",
                    "ops",
                    [Query(f"sum(rate(weft_tasks_submitted_total{{{_C}}}{RATE}))")],
                    "stat",
                    width=4,
                ),
                Panel(
                    "Late results",
                    "Refused in 5 minutes: their attempt was not valid any more.",
                    "short",
                    [Query(f"sum(increase(weft_results_refused_total{{{_C}}}[5m]))")],
                    "stat",
                    width=4,
                ),
            ],
        ),
        Row(
            "Writes",
            [
                Panel(
                    "Time of a write",
                    "A commit of the file, or a round trip of scripts to Redis; 99 %.",
                    "s",
                    [
                        Query(
                            quantile(0.99, "weft_store_write_duration_seconds", "instance", _C),
                            "{{instance}}",
                        )
                    ],
                    limits=(1,),
                ),
                Panel(
                    "Writes",
                    "In a second.",
                    "ops",
                    [
                        Query(
                            f"sum by (instance) (rate(weft_store_write_duration_seconds_count{{{_C}}}{RATE}))",
                            "{{instance}}",
                        )
                    ],
                ),
                Panel(
                    "Items of a write",
                    "Rows of a commit, or scripts of a round trip, on average. More under load: writes are put together.",
                    "short",
                    [
                        Query(
                            f"sum by (instance) (rate(weft_store_write_size_sum{{{_C}}}{RATE})) / sum by (instance) (rate(weft_store_write_size_count{{{_C}}}{RATE}))",
                            "{{instance}}",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Dispatch",
            [
                Panel(
                    "Time of a pass",
                    "Each plans, claims and assigns; 99 %.",
                    "s",
                    [Query(quantile(0.99, "weft_dispatch_duration_seconds", "instance", _C), "{{instance}}")],
                ),
                Panel(
                    "Passes",
                    "In a second.",
                    "ops",
                    [
                        Query(
                            f"sum by (instance) (rate(weft_dispatch_duration_seconds_count{{{_C}}}{RATE}))",
                            "{{instance}}",
                        )
                    ],
                ),
                Panel(
                    "Event loop's lag",
                    "How late a timer fires; 99 %.",
                    "s",
                    [Query(quantile(0.99, "weft_event_loop_lag_seconds", "instance", _C), "{{instance}}")],
                    limits=(0.5,),
                ),
            ],
        ),
        Row(
            "What waits",
            [
                Panel(
                    "Tasks",
                    "Unfinished tasks of the store by state.",
                    "short",
                    [Query("sum by (state) (max by (method, state) (weft_queue_tasks))", "{{state}}")],
                ),
                Panel(
                    "Watchers and calls",
                    "Streams that follow a task, and transparent calls that wait.",
                    "short",
                    [
                        Query(f"sum(weft_watchers{{{_C}}})", "watchers"),
                        Query(f"sum(weft_calls_waiting{{{_C}}})", "calls"),
                    ],
                ),
                Panel(
                    "Leases lost",
                    "In 5 minutes: their agent was silent, or did not come back.",
                    "short",
                    [
                        Query(
                            f"sum by (instance) (increase(weft_leases_lost_total{{{_C}}}[5m]))",
                            "{{instance}}",
                        )
                    ],
                    limits=(1,),
                ),
            ],
        ),
    ],
)
