"""Figures of this process and its host, for heartbeats. Sampled on the heartbeat's thread, and not more often than needed."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from weft.v1 import fleet_pb2

SAMPLE_INTERVAL_S = 2.0


class HostSampler:
    """Keeps its last sample: CPU use is measured between two samples."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._load = fleet_pb2.HostLoad()
        self._next_at = 0.0
        # The first calls only set the marks that later ones measure from.
        self._process.cpu_percent()
        psutil.cpu_percent()

    def sample(
        self, now_s: float, gauges: Mapping[str, float] | None = None, backlog_slots: float = 0.0
    ) -> fleet_pb2.HostLoad:
        """The figures, at most SAMPLE_INTERVAL_S old. A figure that this host does not give is 0.

        Args:
            gauges: the application's own. A changed one is reported at once.
            backlog_slots: what they count as load.
        """
        gauges = gauges or {}
        if now_s < self._next_at and gauges == self._load.gauges:
            return self._load
        self._next_at = now_s + SAMPLE_INTERVAL_S
        try:
            self._load = fleet_pb2.HostLoad(
                process_cpu_cores=self._process.cpu_percent() / 100.0,
                process_memory_bytes=self._process.memory_info().rss,
                host_cpu_ratio=min(1.0, psutil.cpu_percent() / 100.0),
                host_memory_ratio=min(1.0, psutil.virtual_memory().percent / 100.0),
                gauges=gauges,
                backlog_slots=backlog_slots,
            )
        except (psutil.Error, OSError):
            # A hardened container may hide /proc: an agent without figures still works.
            self._load = fleet_pb2.HostLoad(gauges=gauges, backlog_slots=backlog_slots)
        return self._load
