"""An agent's host in detail, for people and as a JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.terminal import moments
from weft.cli.terminal.tables import Verbatim

if TYPE_CHECKING:
    from weft.v1 import fleet_pb2


def host_facts(host: fleet_pb2.HostDetail | None) -> list[tuple[str, str | Verbatim]]:
    """Names and values. What the host does not give is left out."""
    if host is None:
        return []
    return [
        ("host cpu", _processor(host)),
        ("host memory", _memory(host)),
        ("disks", Verbatim("\n".join(map(_partition, host.partitions)))),
        ("network", f"{_rate(host.sent_bytes_per_s)} sent, {_rate(host.received_bytes_per_s)} received"),
        ("gpus", Verbatim("\n".join(map(_gpu, host.gpus)))),
        ("process", f"{host.open_files} open files, {host.threads} threads" if host.threads else ""),
    ]


def host_document(host: fleet_pb2.HostDetail) -> dict[str, Any]:
    """The same for programs."""
    return _fields(host)


def _fields(message: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if not field.is_repeated:
            made[field.name] = value
        elif field.message_type is None:
            made[field.name] = [round(each, 4) for each in value]
        else:
            made[field.name] = [_fields(each) for each in value]
    return made


def _processor(host: fleet_pb2.HostDetail) -> str:
    if not host.core_ratios:
        return ""
    cores = host.core_ratios
    text = f"{sum(cores) / len(cores) * 100:.0f} % of {len(cores)} cores, busiest {max(cores) * 100:.0f} %"
    if host.load_averages:
        text += ", load " + " ".join(f"{each:.2f}" for each in host.load_averages)
    return text + (f", limit {host.cpu_limit_cores:g} cores" if host.cpu_limit_cores else "")


def _memory(host: fleet_pb2.HostDetail) -> str:
    if not host.memory_bytes:
        return ""
    text = f"{moments.size(host.used_memory_bytes)} of {moments.size(host.memory_bytes)}"
    if host.swap_bytes:
        text += f", swap {moments.size(host.used_swap_bytes)} of {moments.size(host.swap_bytes)}"
    return text + (f", limit {moments.size(host.memory_limit_bytes)}" if host.memory_limit_bytes else "")


def _partition(each: fleet_pb2.PartitionFigures) -> str:
    return (
        f"{each.mount}  {moments.size(each.used_bytes)} of {moments.size(each.size_bytes)},"
        f" {_rate(each.read_bytes_per_s)} read, {_rate(each.written_bytes_per_s)} written"
    )


def _gpu(each: fleet_pb2.GpuFigures) -> str:
    return (
        f"{each.name}  {each.use_ratio * 100:.0f} %, {moments.size(each.used_memory_bytes)} of"
        f" {moments.size(each.memory_bytes)}"
    )


def _rate(bytes_per_s: float) -> str:
    return f"{moments.size(int(bytes_per_s))}/s"
