"""One agent or sidecar."""

from __future__ import annotations

from scripts.dashboards.form import Page, Panel, Query, Row, Variable
from scripts.dashboards.queries import RATE, quantile

_A = 'instance="$agent"'
_AGENT = Variable(
    "agent", "Agent", "weft_agent_connected", "instance", "One agent, as Prometheus knows it.", several=False
)

AGENT = Page(
    "agent",
    "one agent",
    "One agent or sidecar: its slots, its attempts, its process and its host.",
    [_AGENT],
    [
        Row(
            "At a glance",
            [
                Panel(
                    "Connected",
                    "1 while a coordinator is connected.",
                    "short",
                    [Query(f"weft_agent_connected{{{_A}}}")],
                    "stat",
                    least=1,
                ),
                Panel(
                    "Slots in use",
                    "The share of its slots that have a task or a call.",
                    "percentunit",
                    [Query(f'sum(weft_agent_slots{{{_A}, state!="free"}}) / sum(weft_agent_slots{{{_A}}})')],
                    "stat",
                    most=1,
                ),
                Panel(
                    "Attempts ended",
                    "In a second.",
                    "ops",
                    [Query(f"sum(rate(weft_agent_attempts_ended_total{{{_A}}}{RATE}))")],
                    "stat",
                ),
                Panel(
                    "Not succeeded",
                    "The share of attempts that ended in another way.",
                    "percentunit",
                    [
                        Query(
                            f'sum(rate(weft_agent_attempts_ended_total{{{_A}, reason!="succeeded"}}{RATE})) / sum(rate(weft_agent_attempts_ended_total{{{_A}}}{RATE}))'
                        )
                    ],
                    "stat",
                    limits=(0.01, 0.1),
                ),
                Panel(
                    "Wait for a slot",
                    "Attempts that were taken in advance.",
                    "short",
                    [Query(f"weft_agent_attempts_waiting{{{_A}}}")],
                    "stat",
                ),
                Panel(
                    "Not acknowledged",
                    "Attempts whose end the coordinator has not acknowledged. It grows while the coordinator is away.",
                    "short",
                    [Query(f"weft_agent_attempts_held{{{_A}}}")],
                    "stat",
                ),
                Panel(
                    "Overrun slots",
                    "Taken by handlers that ignore their cancellation.",
                    "short",
                    [Query(f"weft_agent_overrun_slots{{{_A}}}")],
                    "stat",
                    limits=(1,),
                ),
                Panel(
                    "Host's memory",
                    "The share that is used.",
                    "percentunit",
                    [
                        Query(
                            f'sum(system_memory_usage_bytes{{{_A}, system_memory_state="used"}}) / sum(system_memory_usage_bytes{{{_A}}})'
                        )
                    ],
                    "stat",
                    limits=(0.85, 0.95),
                    most=1,
                ),
            ],
        ),
        Row(
            "Work",
            [
                Panel(
                    "Slots",
                    "By use.",
                    "short",
                    [Query(f"sum by (state) (weft_agent_slots{{{_A}}})", "{{state}}")],
                    stacked=True,
                ),
                Panel(
                    "Attempts",
                    "That ended, in a second, by reason.",
                    "ops",
                    [
                        Query(
                            f"sum by (reason) (rate(weft_agent_attempts_ended_total{{{_A}}}{RATE}))",
                            "{{reason}}",
                        )
                    ],
                    stacked=True,
                ),
                Panel(
                    "Handlers' time",
                    "99 %, by method.",
                    "s",
                    [
                        Query(
                            quantile(0.99, "weft_agent_attempt_duration_seconds", "method", _A), "{{method}}"
                        )
                    ],
                ),
                Panel(
                    "Gauges of the program",
                    "What it reports by `agent.gauge`.",
                    "short",
                    [Query(f"weft_agent_gauge{{{_A}}}", "{{name}}")],
                    width=12,
                ),
                Panel(
                    "Direct calls",
                    "That it has served, in a second, by status.",
                    "ops",
                    [
                        Query(
                            f"sum by (rpc_response_status_code) (rate(rpc_server_call_duration_seconds_count{{{_A}}}{RATE}))",
                            "{{rpc_response_status_code}}",
                        )
                    ],
                    stacked=True,
                    width=12,
                ),
            ],
        ),
        Row(
            "Process",
            [
                Panel(
                    "CPU",
                    "Cores that the process uses.",
                    "short",
                    [
                        Query(
                            f"sum by (cpu_mode) (rate(process_cpu_time_seconds_total{{{_A}}}{RATE}))",
                            "{{cpu_mode}}",
                        )
                    ],
                    stacked=True,
                ),
                Panel(
                    "Memory",
                    "Resident, and what the container may use, if it has a limit.",
                    "bytes",
                    [
                        Query(f"process_memory_usage_bytes{{{_A}}}", "resident"),
                        Query(f"weft_cgroup_memory_limit_bytes{{{_A}}}", "limit"),
                    ],
                ),
                Panel(
                    "Files and threads",
                    "Open files and sockets, and threads.",
                    "short",
                    [
                        Query(f"process_unix_file_descriptor_count{{{_A}}}", "files"),
                        Query(f"process_thread_count{{{_A}}}", "threads"),
                    ],
                ),
            ],
        ),
        Row(
            "Host",
            [
                Panel(
                    "CPU",
                    "The share of all cores, by what they do.",
                    "percentunit",
                    [
                        Query(
                            f'avg by (cpu_mode) (rate(system_cpu_time_seconds_total{{{_A}, cpu_mode!="idle"}}{RATE}))',
                            "{{cpu_mode}}",
                        )
                    ],
                    stacked=True,
                    most=1,
                ),
                Panel(
                    "Load",
                    "Processes that run or wait for a core.",
                    "short",
                    [Query(f"weft_host_load_average{{{_A}}}", "{{period}}")],
                ),
                Panel(
                    "Memory and swap",
                    "Used.",
                    "bytes",
                    [
                        Query(f'system_memory_usage_bytes{{{_A}, system_memory_state="used"}}', "memory"),
                        Query(f'system_paging_usage_bytes{{{_A}, system_paging_state="used"}}', "swap"),
                    ],
                ),
                Panel(
                    "Partitions",
                    "The share that is used.",
                    "percentunit",
                    [
                        Query(
                            f'sum by (system_filesystem_mountpoint) (system_filesystem_usage_bytes{{{_A}, system_filesystem_state="used"}}) / sum by (system_filesystem_mountpoint) (system_filesystem_usage_bytes{{{_A}}})',
                            "{{system_filesystem_mountpoint}}",
                        )
                    ],
                    "bargauge",
                    limits=(0.8, 0.95),
                    most=1,
                ),
                Panel(
                    "Disks",
                    "Bytes in a second.",
                    "Bps",
                    [
                        Query(
                            f"sum by (disk_io_direction) (rate(system_disk_io_bytes_total{{{_A}}}{RATE}))",
                            "{{disk_io_direction}}",
                        )
                    ],
                ),
                Panel(
                    "Network",
                    "Bytes in a second.",
                    "Bps",
                    [
                        Query(
                            f"sum by (network_io_direction) (rate(system_network_io_bytes_total{{{_A}}}{RATE}))",
                            "{{network_io_direction}}",
                        )
                    ],
                ),
                Panel(
                    "GPUs",
                    "Use, where there are GPUs of NVIDIA and the package nvidia-ml-py.",
                    "percentunit",
                    [Query(f"hw_gpu_utilization_ratio{{{_A}}}", "{{hw_id}} {{hw_name}}")],
                    most=1,
                    width=12,
                ),
                Panel(
                    "GPUs' memory",
                    "Used.",
                    "bytes",
                    [Query(f"hw_gpu_memory_usage_bytes{{{_A}}}", "{{hw_id}} {{hw_name}}")],
                    width=12,
                ),
            ],
        ),
    ],
)
