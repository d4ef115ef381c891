"""The kinds of records of a mesh's state, and how many there were of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from weft.v1 import state_pb2

# The kinds by the field of `StateRecord`, in the order in which an import needs them.
KINDS = {
    "contract": state_pb2.STATE_KIND_CONTRACT,
    "method": state_pb2.STATE_KIND_METHOD,
    "agent": state_pb2.STATE_KIND_AGENT,
    "schedule": state_pb2.STATE_KIND_SCHEDULE,
    "pool": state_pb2.STATE_KIND_POOL,
    "budget": state_pb2.STATE_KIND_BUDGET,
    "keyed_state": state_pb2.STATE_KIND_KEYED_STATE,
    "hook": state_pb2.STATE_KIND_HOOK,
    "step": state_pb2.STATE_KIND_STEP,
    "task": state_pb2.STATE_KIND_TASK,
    "event": state_pb2.STATE_KIND_EVENT,
    "subscription": state_pb2.STATE_KIND_SUBSCRIPTION,
}
# Of records that a newer weft has made.
UNKNOWN = ""
FORMAT = 1


def name_of(record: state_pb2.StateRecord) -> str:
    """What a record is about, for people."""
    kind = record.WhichOneof("record")
    if kind == "contract":
        methods = record.contract.methods
        return f"{methods[0]} and {len(methods) - 1} more" if len(methods) > 1 else "".join(methods)
    if kind == "task":
        return record.task.task.id
    if kind == "event":
        return f"{record.event.topic} {record.event.sequence}"
    if kind == "step":
        return record.step.task_id
    if kind == "agent":
        return record.agent.id
    return str(getattr(record, kind).name) if kind in KINDS else ""


class StateCounts:
    """How many records of each kind were exported or imported, were there already, or could not be taken."""

    def __init__(self) -> None:
        kinds = {**KINDS, UNKNOWN: state_pb2.STATE_KIND_UNSPECIFIED}
        self._counts = {field: state_pb2.StateCount(kind=kind) for field, kind in kinds.items()}

    def done(self, field: str) -> None:
        self._counts[field].records += 1

    def existed(self, field: str) -> None:
        self._counts[field].existed += 1

    def refused(self, field: str) -> int:
        """Count one that could not be taken; returns how many there were."""
        self._counts[field].refused += 1
        return self._counts[field].refused

    def messages(self) -> Iterable[state_pb2.StateCount]:
        """Those of kinds of which there was any."""
        return [each for each in self._counts.values() if each.records or each.existed or each.refused]
