"""Whether the mesh does its work."""

from __future__ import annotations

from scripts.dashboards.form import Page, Panel, Query, Row
from scripts.dashboards.queries import RATE, half_and_most, quantile

_AT_A_GLANCE = Row(
    "At a glance",
    [
        Panel(
            "Coordinators", "That answer.", "short", [Query("count(weft_store_writable)")], "stat", least=1
        ),
        Panel(
            "Agents", "Connected to a coordinator.", "short", [Query("sum(weft_sessions)")], "stat", least=1
        ),
        Panel(
            "Tasks ended", "In a second.", "ops", [Query(f"sum(rate(weft_tasks_ended_total{RATE}))")], "stat"
        ),
        Panel(
            "Failed",
            "The share of ended tasks that failed for good.",
            "percentunit",
            [
                Query(
                    f'sum(rate(weft_tasks_ended_total{{outcome="failed"}}{RATE})) / sum(rate(weft_tasks_ended_total{RATE}))'
                )
            ],
            "stat",
            limits=(0.01, 0.1),
        ),
        Panel(
            "Unfinished",
            "Tasks that are stored and have not ended.",
            "short",
            [Query("max(weft_tasks_unfinished)")],
            "stat",
        ),
        Panel(
            "Oldest waits for",
            "The age of the oldest ready task of any method.",
            "s",
            [Query("max(weft_queue_oldest_age_seconds)")],
            "stat",
            limits=(60, 300),
        ),
        Panel(
            "Without an agent",
            "Tasks that no agent will take unless somebody acts: start an agent that hosts their method, with what they require.",
            "short",
            [Query('sum(max by (method) (weft_queue_tasks{state="without_agent"}))')],
            "stat",
            limits=(1,),
        ),
        Panel(
            "Slots in use",
            "The share of all agents' slots that have a task. At 100 %, tasks wait.",
            "percentunit",
            [Query('sum(weft_slots{state="used"}) / sum(weft_slots)')],
            "stat",
            limits=(0.9, 1),
            most=1,
        ),
    ],
)

FLEET = Page(
    "fleet",
    "fleet",
    "Whether the mesh does its work: tasks, queues, agents, coordinators.",
    [],
    [
        _AT_A_GLANCE,
        Row(
            "Tasks",
            [
                Panel(
                    "Tasks by outcome",
                    "Tasks that ended, in a second.",
                    "ops",
                    [Query(f"sum by (outcome) (rate(weft_tasks_ended_total{RATE}))", "{{outcome}}")],
                    stacked=True,
                ),
                Panel(
                    "Attempts that did not succeed",
                    "In a second. crashed: its process died; lost: with its agent; released: not started.",
                    "ops",
                    [
                        Query(
                            f'sum by (reason) (rate(weft_attempts_ended_total{{reason!="succeeded"}}{RATE}))',
                            "{{reason}}",
                        )
                    ],
                    stacked=True,
                ),
                Panel(
                    "Run again",
                    "Tasks queued again, in a second: after a failure, or after a crash or the loss of their agent.",
                    "ops",
                    [
                        Query(f"sum(rate(weft_tasks_retried_total{RATE}))", "after a failure"),
                        Query(f"sum(rate(weft_tasks_rerun_total{RATE}))", "after a crash or loss"),
                    ],
                ),
                Panel(
                    "Queues",
                    "Unfinished tasks of the store by state. Limited and without_agent are a part of queued.",
                    "short",
                    [Query("sum by (state) (max by (method, state) (weft_queue_tasks))", "{{state}}")],
                ),
                Panel(
                    "Waits",
                    "How long ready tasks waited for their attempt.",
                    "s",
                    half_and_most("weft_task_wait_duration_seconds"),
                ),
                Panel(
                    "Runs",
                    "From the assignment of an attempt to its report.",
                    "s",
                    half_and_most("weft_attempt_duration_seconds"),
                ),
            ],
        ),
        Row(
            "Agents",
            [
                Panel(
                    "Slots",
                    "Of all connected agents.",
                    "short",
                    [Query("sum by (state) (weft_slots)", "{{state}}")],
                    stacked=True,
                ),
                Panel(
                    "Agents by coordinator",
                    "Sessions.",
                    "short",
                    [Query("weft_sessions", "{{instance}}")],
                    stacked=True,
                ),
                Panel(
                    "Lost and failing agents",
                    "Leases lost in 5 minutes, and agents whose attempts keep failing.",
                    "short",
                    [
                        Query("sum(increase(weft_leases_lost_total[5m]))", "leases lost"),
                        Query("sum(weft_agents_failing)", "failing"),
                    ],
                    limits=(1,),
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
                            f"sum by (rpc_response_status_code) (rate(rpc_server_call_duration_seconds_count{RATE}))",
                            "{{rpc_response_status_code}}",
                        )
                    ],
                    stacked=True,
                ),
                Panel(
                    "Refused at a limit",
                    "Calls and tasks, in 5 minutes.",
                    "short",
                    [
                        Query("sum by (limit) (increase(weft_limits_hit_total[5m]))", "{{limit}}"),
                        Query(
                            "sum by (limit, of) (increase(weft_callers_limited_total[5m]))",
                            "{{limit}} of a {{of}}",
                        ),
                    ],
                    stacked=True,
                ),
                Panel(
                    "Direct calls",
                    "Agents chosen, calls tried again at another agent, and agents put aside because their calls failed; in a second.",
                    "ops",
                    [
                        Query(f"sum(rate(weft_balancer_picks_total{RATE}))", "calls"),
                        Query(f"sum(rate(weft_balancer_retries_total{RATE}))", "tried again"),
                        Query(f"sum(rate(weft_balancer_ejections_total{RATE}))", "ejections"),
                    ],
                ),
            ],
        ),
        Row(
            "Processes",
            [
                Panel(
                    "Event loop's lag",
                    "How late a timer of a coordinator fires; 99 %.",
                    "s",
                    [Query(quantile(0.99, "weft_event_loop_lag_seconds", "instance"), "{{instance}}")],
                    limits=(0.5,),
                ),
                Panel(
                    "Memory",
                    "Resident memory of each process.",
                    "bytes",
                    [Query("process_memory_usage_bytes", "{{job}} {{instance}}")],
                ),
                Panel(
                    "CPU",
                    "Cores that each process uses.",
                    "short",
                    [
                        Query(
                            f"sum by (job, instance) (rate(process_cpu_time_seconds_total{RATE}))",
                            "{{job}} {{instance}}",
                        )
                    ],
                ),
                Panel(
                    "Lost log lines and spans",
                    "That could not be written or exported, in 5 minutes.",
                    "short",
                    [
                        Query(
                            "sum by (instance) (increase(weft_log_lines_lost_total[5m]))",
                            "lines of {{instance}}",
                        ),
                        Query(
                            "sum by (instance) (increase(weft_spans_dropped_total[5m]))",
                            "spans of {{instance}}",
                        ),
                    ],
                    limits=(1,),
                ),
            ],
        ),
    ],
)
