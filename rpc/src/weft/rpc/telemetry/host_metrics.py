"""The metrics of an agent's host, and of what its program reports itself.

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

# Those of a host without GPUs, and of a program without gauges, come first.
ALWAYS = (
    CPU_TIME,
    LOAD,
    MEMORY,
    SWAP,
    FILESYSTEM,
    DISK_IO,
    NETWORK_IO,
)
HOST_METRICS = (*ALWAYS, GPU_USE, GPU_MEMORY, GPU_MEMORY_LIMIT, CUSTOM)
