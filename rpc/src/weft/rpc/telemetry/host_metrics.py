"""The metrics of an agent's host and process, and of what its program reports itself.

Names and attributes are OpenTelemetry's (https://opentelemetry.io/docs/specs/semconv/system), except those that it has none for.
"""

from __future__ import annotations

from weft.rpc.telemetry.figures import MetricSpec

_CORE, _MODE = "cpu.logical_number", "cpu.mode"
_MOUNT, _DEVICE = "system.filesystem.mountpoint", "system.device"

CPU_TIME = MetricSpec(
    "system.cpu.time", "counter", "s", "CPU time of the host, by core and mode.", (_CORE, _MODE)
)
LOAD = MetricSpec(
    "weft.host.load_average",
    "gauge",
    "{process}",
    "Processes that run or wait for a core, on average.",
    ("period",),
)
MEMORY = MetricSpec(
    "system.memory.usage",
    "gauge",
    "By",
    "Memory of the host: used, or free for programs.",
    ("system.memory.state",),
)
SWAP = MetricSpec("system.paging.usage", "gauge", "By", "Swap space of the host.", ("system.paging.state",))
FILESYSTEM = MetricSpec(
    "system.filesystem.usage",
    "gauge",
    "By",
    "Space of each partition.",
    (_DEVICE, _MOUNT, "system.filesystem.state"),
)
DISK_IO = MetricSpec(
    "system.disk.io",
    "counter",
    "By",
    "Bytes read from and written to each partition.",
    (_DEVICE, "disk.io.direction"),
)
NETWORK_IO = MetricSpec(
    "system.network.io",
    "counter",
    "By",
    "Bytes sent and received by each network interface.",
    ("network.interface.name", "network.io.direction"),
)
PROCESS_CPU = MetricSpec("process.cpu.time", "counter", "s", "CPU time of this process.", (_MODE,))
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
GPU_USE = MetricSpec("hw.gpu.utilization", "gauge", "1", "Use of each GPU.", ("hw.id", "hw.name"))
GPU_MEMORY = MetricSpec(
    "hw.gpu.memory.usage", "gauge", "By", "Memory in use of each GPU.", ("hw.id", "hw.name")
)
GPU_MEMORY_LIMIT = MetricSpec(
    "hw.gpu.memory.limit", "gauge", "By", "Memory of each GPU.", ("hw.id", "hw.name")
)
CUSTOM = MetricSpec(
    "weft.agent.gauge",
    "gauge",
    "{value}",
    "What the program reports by `agent.gauge`, by its name.",
    ("name",),
)

# Those of a host without limits and GPUs, and of a program without gauges, come first.
ALWAYS = (
    CPU_TIME,
    LOAD,
    MEMORY,
    SWAP,
    FILESYSTEM,
    DISK_IO,
    NETWORK_IO,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_FILES,
    PROCESS_THREADS,
)
HOST_METRICS = (*ALWAYS, CPU_LIMIT, MEMORY_LIMIT, GPU_USE, GPU_MEMORY, GPU_MEMORY_LIMIT, CUSTOM)
