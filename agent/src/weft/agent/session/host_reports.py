"""What heartbeats say of the host and of the program: the load each time, the host in detail seldom, the program's gauges."""

from __future__ import annotations

from weft.agent.gauges import Gauges
from weft.agent.session.host_details import DetailSampler
from weft.agent.session.host_figures import HostSampler
from weft.v1 import fleet_pb2


class HostReports:
    """Samples for heartbeats; on the heartbeat's thread."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._load = HostSampler()
        self._detail = DetailSampler()

    def begin(self) -> None:
        """A session begins: its coordinator knows nothing yet."""
        self._detail.begin()

    def load(self, now_s: float) -> fleet_pb2.HostLoad:
        """The load, with the gauges; the same object while nothing has changed."""
        return self._load.sample(now_s, *self._gauges.read())

    def add_detail(self, load: fleet_pb2.HostLoad, now_s: float) -> None:
        """Add the detail, if it is time for it, to a copy of the load."""
        detail = self._detail.sample(now_s)
        if detail is not None:
            load.detail.CopyFrom(detail)
