"""The metrics of a process of weft's own: coordinator, agent or sidecar.

Names and attributes are OpenTelemetry's (https://opentelemetry.io/docs/specs/semconv/system), except those that it has none for.
"""

from __future__ import annotations

from weft.rpc.process.environment import NAMES
from weft.rpc.telemetry.figures import MetricSpec

PROCESS_CPU = MetricSpec("process.cpu.time", "counter", "s", "CPU time of this process.", ("cpu.mode",))
PROCESS_MEMORY = MetricSpec("process.memory.usage", "gauge", "By", "Resident memory of this process.")
PROCESS_FILES = MetricSpec(
    "process.unix.file_descriptor.count",
    "gauge",
    "{file_descriptor}",
    "Open files and sockets of this process.",
)
PROCESS_THREADS = MetricSpec("process.thread.count", "gauge", "{thread}", "Threads of this process.")
CPU_LIMIT = MetricSpec(
    "weft.cgroup.cpu.limit", "gauge", "{cpu}", "Cores that the container may use; absent: no limit."
)
MEMORY_LIMIT = MetricSpec(
    "weft.cgroup.memory.limit", "gauge", "By", "Memory that the container may use; absent: no limit."
)
THROTTLED = MetricSpec(
    "weft.cgroup.cpu.throttled.time",
    "counter",
    "s",
    "How long the container was kept from running because it had used its cores; absent: no limit.",
)
LINES_LOST = MetricSpec(
    "weft.log.lines.lost",
    "counter",
    "{line}",
    "Lines of the log that could not be written: its disk is full, or its reader is gone or slow.",
)
SPANS_DROPPED = MetricSpec(
    "weft.spans.dropped",
    "counter",
    "{span}",
    "Spans that were not exported, by reason: queue_full (more came than can be sent) or failed (the receiver did not take them).",
    ("reason",),
)

# Its attributes are those of weft.rpc.process.environment.
ENVIRONMENT = MetricSpec(
    "weft.environment",
    "gauge",
    "1",
    "1, with what is known of the container, the pod and the host.",
    NAMES,
)
CERTIFICATE_END = MetricSpec(
    "weft.certificate.end",
    "gauge",
    "s",
    "When the certificate of this process ends, in seconds since 1970; absent: it has none.",
)
CERTIFICATE_BEGIN = MetricSpec(
    "weft.certificate.begin",
    "gauge",
    "s",
    "When the certificate of this process begins, in seconds since 1970; absent: it has none.",
)

DENIED = MetricSpec(
    "weft.denied",
    "counter",
    "{call}",
    "Calls refused because of who called, by port (coordinator, agent, egress, metrics or hooks), reason (TOKEN_MISSING, ROLE_NEEDED, OUT_OF_SCOPE and so on) and"
    " role; none: it was not known.",
    ("port", "reason", "role"),
)

# Those of a process without limits and certificates come first.
PROCESS_ALWAYS = (
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_FILES,
    PROCESS_THREADS,
    LINES_LOST,
    SPANS_DROPPED,
    ENVIRONMENT,
    DENIED,
)
PROCESS_METRICS = (*PROCESS_ALWAYS, CPU_LIMIT, MEMORY_LIMIT, THROTTLED, CERTIFICATE_BEGIN, CERTIFICATE_END)
