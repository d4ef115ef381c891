"""The host in detail, for heartbeats: sampled seldom. Rates are those since the sample before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil

from weft.rpc.process import host_readings, process_readings
from weft.v1 import fleet_pb2

INTERVAL_S = 30.0
# The first sample of rates comes sooner: a sample alone has none.
FIRST_S = 5.0


class DetailSampler:
    """Samples in turn; keeps what rates are measured from."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._before_s: float | None = None
        # Bytes so far: by device read and written, and sent and received.
        self._moved: dict[str, tuple[int, int]] = {}
        self._network = (0, 0)
        with contextlib.suppress(psutil.Error, OSError):
            # The first call only sets the marks that later ones measure from.
            psutil.cpu_percent(percpu=True)

    def begin(self) -> None:
        """A session begins: its coordinator knows nothing yet."""
        self._due_s = 0.0

    def sample(self, now_s: float) -> fleet_pb2.HostDetail | None:
        """The detail, if it is time for it; `now_s`: monotonic."""
        if now_s < self._due_s:
            return None
        first = self._before_s is None
        self._due_s = now_s + (FIRST_S if first else INTERVAL_S)
        seconds = None if self._before_s is None else max(0.1, now_s - self._before_s)
        self._before_s = now_s
        detail = fleet_pb2.HostDetail()
        for part in (self._processor, self._memory, self._process, self._gpus):
            with _may_be_hidden():
                part(detail)
        with _may_be_hidden():
            self._disks(detail, seconds)
        with _may_be_hidden():
            self._traffic(detail, seconds)
        return detail

    @staticmethod
    def _processor(detail: fleet_pb2.HostDetail) -> None:
        cores = psutil.cpu_percent(percpu=True)[: host_readings.MOST_CORES]
        detail.core_ratios.extend(min(1.0, each / 100.0) for each in cores)
        detail.load_averages.extend(host_readings.load_average())
        detail.cpu_limit_cores = process_readings.cpu_limit() or 0.0

    @staticmethod
    def _memory(detail: fleet_pb2.HostDetail) -> None:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        detail.memory_bytes = memory.total
        detail.used_memory_bytes = memory.total - memory.available
        detail.swap_bytes, detail.used_swap_bytes = swap.total, swap.used
        detail.memory_limit_bytes = process_readings.memory_limit() or 0

    @staticmethod
    def _process(detail: fleet_pb2.HostDetail) -> None:
        detail.open_files = process_readings.open_files()
        detail.threads = process_readings.threads()

    @staticmethod
    def _gpus(detail: fleet_pb2.HostDetail) -> None:
        detail.gpus.extend(
            fleet_pb2.GpuFigures(
                name=gpu.name,
                use_ratio=gpu.use_ratio,
                memory_bytes=gpu.memory_bytes,
                used_memory_bytes=gpu.used_memory_bytes,
            )
            for gpu in host_readings.gpus()
        )

    def _disks(self, detail: fleet_pb2.HostDetail, seconds: float | None) -> None:
        moved: dict[str, tuple[int, int]] = {}
        for each in host_readings.partitions():
            figures = detail.partitions.add(
                mount=each.mount, size_bytes=each.size_bytes, used_bytes=each.used_bytes
            )
            moved[each.device] = now = each.read_bytes, each.written_bytes
            before = self._moved.get(each.device)
            if before is not None and seconds is not None:
                figures.read_bytes_per_s = _rate(before[0], now[0], seconds)
                figures.written_bytes_per_s = _rate(before[1], now[1], seconds)
        self._moved = moved

    def _traffic(self, detail: fleet_pb2.HostDetail, seconds: float | None) -> None:
        found = list(host_readings.interfaces())
        now = sum(sent for _, sent, _ in found), sum(received for _, _, received in found)
        if seconds is not None:
            detail.sent_bytes_per_s = _rate(self._network[0], now[0], seconds)
            detail.received_bytes_per_s = _rate(self._network[1], now[1], seconds)
        self._network = now


def _rate(before: int, now: int, seconds: float) -> float:
    # Whole bytes: a counter may have begun anew.
    return float(round(max(0, now - before) / seconds))


@contextlib.contextmanager
def _may_be_hidden() -> Iterator[None]:
    """A hardened container may hide what is read: the rest is reported all the same."""
    with contextlib.suppress(psutil.Error, OSError, ValueError, AttributeError):
        yield
