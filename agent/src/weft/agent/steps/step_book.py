"""The steps of one attempt: the names that its handler asks for, in order, and the records that its task has. Pure.

A name that is asked for again gets a number: "charge", "charge#2". The numbers are the same in each attempt if the handler asks in the
same order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from weft.rpc.enum_names import enum_name
from weft.rpc.refusals import step_changed
from weft.v1 import step_pb2

SIGNALS = "signal/"
# Room for a number, and for what a wait adds.
MAX_NAME_CHARS = 128
_NAME = re.compile(rf"(?!{SIGNALS})[\x21\x22\x24-\x7e]{{1,{MAX_NAME_CHARS}}}")

Step = step_pb2.Step


def check_name(name: str) -> str:
    """
    Raises:
        ValueError: no step can have the name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{str(name)[:64]!r} is no name of a step: 1 to {MAX_NAME_CHARS} printable ASCII characters without spaces and '#', which do not"
            f" begin with {SIGNALS}"
        )
    return name


class StepBook:
    """The records of a task, and how often its handler has asked for each name."""

    def __init__(self) -> None:
        self._records: dict[str, Step] = {}
        self._asked: Counter[str] = Counter()
        self.last_sequence = 0
        # Signals that the task has, of any name.
        self.signals = 0

    def take_in(self, steps: Iterable[Step]) -> None:
        """Add all records up to the last one of these."""
        for step in steps:
            self.add(step)
            self.last_sequence = step.sequence

    def add(self, step: Step) -> None:
        """Add one record; others may be missing before it."""
        if step.name not in self._records:
            self._records[step.name] = step
            self.signals += step.kind == step_pb2.STEP_KIND_SIGNAL

    def next_name(self, name: str) -> str:
        """The name of the next step that is called so."""
        self._asked[name] += 1
        count = self._asked[name]
        return name if count == 1 else f"{name}#{count}"

    def give_back(self, name: str) -> None:
        """The last step that is called so was none."""
        self._asked[name] -= 1

    def find(self, name: str, kind: step_pb2.StepKind) -> Step | None:
        """The record of a name.

        Raises:
            FailedPrecondition: STEP_CHANGED: it is of another kind.
        """
        found = self._records.get(name)
        if found is not None and found.kind != kind:
            recorded = enum_name(step_pb2.StepKind, found.kind, "STEP_KIND_").lower()
            asked = enum_name(step_pb2.StepKind, kind, "STEP_KIND_").lower()
            raise step_changed(name, f"is recorded as a {recorded}, and the handler asks for a {asked}")
        return found
