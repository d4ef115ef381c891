"""The trailers of every direct call: the agent's name, and its load in the form of gRFC A51.

The bytes of a report are made once for each number of used slots and kept until the host's figures change.
"""

from __future__ import annotations

from collections.abc import Collection

from weft.agent.handlers.slots import Slots
from weft.rpc.calls.metadata import AGENT_KEY, LOAD_KEY, ORCA_KEY, Pairs, belongs_to_caller
from weft.rpc.errors import STATUS_DETAILS_KEY
from weft.v1 import agent_pb2, fleet_pb2

_MAX_KEPT = 4096


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

    The sampler writes `host`, from any thread.
    """

    def __init__(self, agent_id: str, slots: Slots) -> None:
        self.host = fleet_pb2.HostLoad()
        self._slots = slots
        self._name = (AGENT_KEY, agent_id)
        # By used slots, for these figures of the host.
        self._kept: dict[int, Pairs] = {}
        self._kept_host = self.host

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
        total = self._slots.total
        report = agent_pb2.OrcaLoadReport(
            cpu_utilization=host.process_cpu_cores,
            mem_utilization=host.host_memory_ratio,
            named_metrics={"slots": total, "used_slots": used},
            application_utilization=used / total,
        )
        data = report.SerializeToString()
        made = self._kept[used] = ((ORCA_KEY, data), (LOAD_KEY, data), self._name)
        return made
