"""Each kind of thing that a mesh keeps is exported, or there is a reason why not. By the contract and the code, so that none is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.generated_state import GENERATED
from weft.cli.state import state_command
from weft.coordinator.state.state_kinds import KINDS
from weft.v1 import state_pb2

ROOT = Path(__file__).parents[2]
RECORDS = {field.name for field in state_pb2.StateRecord.DESCRIPTOR.oneofs_by_name["record"].fields}
# Around the others; contracts come from agents' files, agents' states need agents, and steps need handlers (`test_moved_steps`).
NOT_GENERATED = {"header", "end", "contract", "agent", "step"}
# Kinds of rows of the store's table: the record that has them, or why they stay behind.
ROWS = {
    "budget": "budget",
    "hook": "hook",
    "pool": "pool",
    "schedule": "schedule",
    "subscription": "subscription",
    "subscription-state": "subscription",
    "alerts": "-: they fire again, where something is still wrong",
    "audit": "-: it is about the mesh where it happened",
    "authority": "-: secret",
    "event-interest": "-: of connected subscribers",
    "hook-counts": "-: they begin anew",
    "hook-delivery": "-: for a day, of hooks that publish events",
    "namespace": "-: an export is of one",
    "sticky": "-: about processes of agents, which do not move",
    "sticky-moves": "-: about processes of agents, which do not move",
    "ticket-secrets": "-: secret",
    "token": "-: secret",
    "usage": "-: of the mesh where it was used",
    "usage-tree": "-: of the mesh where it was used",
}
_KINDS = re.compile(r"^_?(?:[A-Z]+_)?KIND(?:, (?:[A-Z]+_)?KIND)* = (.+)$", re.MULTILINE)


def test_every_record_of_the_contract_is_exported_imported_and_generated() -> None:
    kinds = RECORDS - {"header", "end"}
    assert set(KINDS) == kinds
    assert set(KINDS.values()) | {0} == set(state_pb2.StateKind.values())
    assert set(state_command.KINDS) == kinds
    assert tuple(state_command.KINDS) == tuple(KINDS)
    assert set(GENERATED) == RECORDS - NOT_GENERATED


def test_every_kind_of_row_is_exported_or_stays_behind_for_a_reason() -> None:
    found: set[str] = set()
    for path in (ROOT / "coordinator" / "src").rglob("*.py"):
        for values in _KINDS.findall(path.read_text()):
            found |= set(re.findall(r'"([a-z-]+)"', values))
    assert found == set(ROWS)
    assert {each for each in ROWS.values() if not each.startswith("-")} <= set(KINDS)
