"""Methods: how many tasks, how they end, how long they wait and run."""

from __future__ import annotations

from scripts.dashboards.form import Page, Panel, Query, Row, Variable
from scripts.dashboards.queries import RATE, quantile

_M = 'method=~"$method"'
_METHOD = Variable("method", "Method", "weft_tasks_submitted_total", "method", "Methods that have had tasks.")

METHODS = Page(
    "methods",
    "methods",
    "One method, some or all: how many tasks, how they end, how long they wait and run.",
    [_METHOD],
    [
        Row(
            "Load",
            [
                Panel(
                    "Ended",
                    "Tasks in a second.",
                    "ops",
                    [Query(f"sum by (method) (rate(weft_tasks_ended_total{{{_M}}}{RATE}))", "{{method}}")],
                    stacked=True,
                ),
                Panel(
                    "Submitted",
                    "Tasks in a second.",
                    "ops",
                    [
                        Query(
                            f"sum by (method) (rate(weft_tasks_submitted_total{{{_M}}}{RATE}))", "{{method}}"
                        )
                    ],
                    stacked=True,
                ),
                Panel(
                    "Failed",
                    "The share of ended tasks that failed for good.",
                    "percentunit",
                    [
                        Query(
                            f'sum by (method) (rate(weft_tasks_ended_total{{{_M}, outcome="failed"}}{RATE})) / sum by (method) (rate(weft_tasks_ended_total{{{_M}}}{RATE}))',
                            "{{method}}",
                        )
                    ],
                    limits=(0.1,),
                    most=1,
                ),
            ],
        ),
        Row(
            "Queues",
            [
                Panel(
                    "Queued",
                    "Ready tasks that wait; those at a limit included.",
                    "short",
                    [Query(f'max by (method) (weft_queue_tasks{{{_M}, state="queued"}})', "{{method}}")],
                ),
                Panel(
                    "Oldest waits for",
                    "The age of the oldest ready task.",
                    "s",
                    [Query(f"max by (method) (weft_queue_oldest_age_seconds{{{_M}}})", "{{method}}")],
                    limits=(300,),
                ),
                Panel(
                    "Without an agent, at a limit, scheduled, running",
                    "Tasks by state.",
                    "short",
                    [
                        Query(
                            f'max by (method, state) (weft_queue_tasks{{{_M}, state!="queued"}})',
                            "{{state}} {{method}}",
                        )
                    ],
                ),
            ],
        ),
        Row(
            "Time",
            [
                Panel(
                    "Waits",
                    "How long a ready task waited for its attempt; 99 %.",
                    "s",
                    [Query(quantile(0.99, "weft_task_wait_duration_seconds", "method", _M), "{{method}}")],
                ),
                Panel(
                    "Runs, half",
                    "From the assignment of an attempt to its report; half of the attempts are quicker.",
                    "s",
                    [Query(quantile(0.5, "weft_attempt_duration_seconds", "method", _M), "{{method}}")],
                ),
                Panel(
                    "Runs, 99 %",
                    "From the assignment of an attempt to its report; one of a hundred takes longer.",
                    "s",
                    [Query(quantile(0.99, "weft_attempt_duration_seconds", "method", _M), "{{method}}")],
                ),
            ],
        ),
        Row(
            "Trouble",
            [
                Panel(
                    "Attempts that did not succeed",
                    "In a second, by reason.",
                    "ops",
                    [
                        Query(
                            f'sum by (reason) (rate(weft_attempts_ended_total{{{_M}, reason!="succeeded"}}{RATE}))',
                            "{{reason}}",
                        )
                    ],
                    stacked=True,
                ),
                Panel(
                    "Tried again",
                    "The share of attempts that failed and are tried again.",
                    "percentunit",
                    [
                        Query(
                            f"sum by (method) (rate(weft_tasks_retried_total{{{_M}}}{RATE})) / sum by (method) (rate(weft_attempts_ended_total{{{_M}}}{RATE}))",
                            "{{method}}",
                        )
                    ],
                    limits=(0.2,),
                ),
                Panel(
                    "Crashes and losses",
                    "Attempts whose process died, in 10 minutes.",
                    "short",
                    [
                        Query(
                            f'sum by (method) (increase(weft_attempts_ended_total{{{_M}, reason=~"crashed|lost"}}[10m]))',
                            "{{method}}",
                        )
                    ],
                    limits=(5,),
                ),
            ],
        ),
        Row(
            "Calls",
            [
                Panel(
                    "Calls by status",
                    "That coordinators and agents have served, in a second.",
                    "ops",
                    [
                        Query(
                            f'sum by (rpc_response_status_code) (rate(rpc_server_call_duration_seconds_count{{rpc_method=~"$method"}}{RATE}))',
                            "{{rpc_response_status_code}}",
                        )
                    ],
                    stacked=True,
                    width=12,
                ),
                Panel(
                    "Calls' time",
                    "As the process that serves a call sees it; 99 %.",
                    "s",
                    [
                        Query(
                            quantile(
                                0.99,
                                "rpc_server_call_duration_seconds",
                                "rpc_method",
                                'rpc_method=~"$method"',
                            ),
                            "{{rpc_method}}",
                        )
                    ],
                    width=12,
                ),
            ],
        ),
    ],
)
