"""The trailers of every direct call: the agent's name, and its load in the form of gRFC A51.

The bytes of a report are made once for each number of used slots and kept until the host's figures change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from weft.agent.handlers.slots import Slots
from weft.rpc.calls.metadata import AGENT_KEY, LOAD_KEY, ORCA_KEY, Pairs, belongs_to_caller
from weft.rpc.errors import STATUS_DETAILS_KEY
from weft.v1 import agent_pb2, fleet_pb2

_MAX_KEPT = 4096
# Rates are measured over this time at least.
LEAST_S = 0.5


def merged(own: Collection[tuple[str, str | bytes]], load: Pairs) -> Pairs:
    """The handler's own trailers, without the keys that gRPC and this agent set themselves, and the agent's load.

    A load that the handler reports itself takes precedence.
    """
    if not own:
        return load
    kept = [pair for pair in own if pair[0] == STATUS_DETAILS_KEY or belongs_to_caller(pair[0])]
    if any(key == ORCA_KEY for key, _ in kept):
        return (*kept, *[pair for pair in load if pair[0] != ORCA_KEY])
    return (*kept, *load)


class LoadReports:
    """The agent's load, as trailers and as a message of `Execute`.

    The sampler sets `host` by `sampled`, from any thread.

    Args:
        ended: how many calls and attempts have ended, and how many of these failed by a fault of the agent.
    """

    def __init__(
        self, agent_id: str, slots: Slots, ended: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
    ) -> None:
        self.host = fleet_pb2.HostLoad()
        self._ended = ended
        self._rates = (0.0, 0.0)
        self._counted = (time.monotonic(), *ended())
        self._slots = slots
        self._name = (AGENT_KEY, agent_id)
        # By used slots, for these figures of the host.
        self._kept: dict[int, Pairs] = {}
        self._kept_host = self.host

    def sampled(self, host: fleet_pb2.HostLoad) -> None:
        """There are new figures of the host. Rates are those since the figures before."""
        if host is self.host:
            return
        before_s, calls, failures = self._counted
        now_s, (calls_now, failures_now) = time.monotonic(), self._ended()
        if (seconds := now_s - before_s) >= LEAST_S:
            self._rates = (calls_now - calls) / seconds, (failures_now - failures) / seconds
            self._counted = now_s, calls_now, failures_now
        self.host = host

    def orca(self) -> bytes:
        """The report in the form of gRFC A51."""
        data = self.trailers()[0][1]
        assert isinstance(data, bytes)
        return data

    def trailers(self) -> Pairs:
        """The trailers for the present load."""
        used = self._slots.durable + self._slots.direct
        if self._kept_host is self.host and (kept := self._kept.get(used)) is not None:
            return kept
        return self._make(used)

    def report(self) -> agent_pb2.LoadReport:
        """The same for `Execute`."""
        return agent_pb2.LoadReport(used_slots=self._slots.used, slots=self._slots.total, host=self.host)

    def _make(self, used: int) -> Pairs:
        host = self.host
        if host is not self._kept_host or len(self._kept) >= _MAX_KEPT:
            self._kept = {}
            self._kept_host = host
        total, backlog = self._slots.total, host.backlog_slots
        of_backlog = {"backlog_slots": backlog} if backlog else {}
        report = agent_pb2.OrcaLoadReport(
            cpu_utilization=host.process_cpu_cores,
            mem_utilization=host.host_memory_ratio,
            rps_fractional=self._rates[0],
            eps=self._rates[1],
            named_metrics={**host.gauges, "slots": total, "used_slots": used, **of_backlog},
            application_utilization=(used + backlog) / total,
        )
        data = report.SerializeToString()
        made = self._kept[used] = ((ORCA_KEY, data), (LOAD_KEY, data), self._name)
        return made
