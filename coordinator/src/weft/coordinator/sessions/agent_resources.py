"""The resources of one agent: what it has declared, what its attempts use, and what is left. Pure.

The coordinator of the agent's session accounts for them as it does for slots: taken when an attempt is assigned or adopted,
given back when it ends, is released or is lost. Handlers that run on although their attempts are over keep theirs: the agent reports
these amounts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

from weft.coordinator.store.records import AttemptRef
from weft.v1 import fleet_pb2

# Amounts (resource, amount) that one attempt uses.
Consumes = tuple[tuple[str, float], ...]
# Tasks that a list names of one resource.
MAX_USERS = 100
# Sums of floats are not exact: ten times 0.1 fits into 1.0.
_DIGITS = 9


class AgentResources:
    """An agent's resources.

    Attributes:
        left: what is left, by resource. Below zero after an adoption, if the agent declares less than it did.
        users: the attempts that use resources.
    """

    __slots__ = ("_amounts", "_stuck", "declared", "left", "users")

    def __init__(self, declared: Mapping[str, float]) -> None:
        self.declared = dict(declared)
        self.left = dict(declared)
        self.users: dict[AttemptRef, Consumes] = {}
        # By resource.
        self._amounts: dict[str, dict[AttemptRef, float]] = {}
        # Of handlers whose attempts are over.
        self._stuck: dict[str, float] = {}

    def take(self, ref: AttemptRef, consumes: Consumes) -> None:
        """An attempt uses these amounts from now on."""
        self.users[ref] = consumes
        for resource, amount in consumes:
            self._amounts.setdefault(resource, {})[ref] = amount
            self._count(resource)

    def give_back(self, ref: AttemptRef) -> None:
        """The attempt uses nothing any more. Harmless if it did not use anything."""
        for resource, _ in self.users.pop(ref, ()):
            del self._amounts[resource][ref]
            self._count(resource)

    def set_stuck(self, amounts: Mapping[str, float]) -> None:
        """Handlers whose attempts are over use these amounts."""
        if amounts or self._stuck:
            before, self._stuck = self._stuck, dict(amounts)
            for resource in before.keys() | self._stuck.keys():
                self._count(resource)

    def used(self, resource: str) -> float:
        """How much of a resource is in use."""
        amounts = self._amounts.get(resource, {}).values()
        return round(math.fsum((*amounts, self._stuck.get(resource, 0.0))), _DIGITS)

    def use(self) -> Iterator[fleet_pb2.ResourceUse]:
        """What is in use of each resource, and by which tasks, by name."""
        for resource, declared in sorted(self.declared.items()):
            users = self._amounts.get(resource, {}).items()
            yield fleet_pb2.ResourceUse(
                resource=resource,
                declared=declared,
                used=self.used(resource),
                users=[
                    fleet_pb2.ResourceUser(task_id=ref.task_id, amount=amount)
                    for ref, amount in itertools.islice(users, MAX_USERS)
                ],
            )

    def _count(self, resource: str) -> None:
        # Anew from all amounts: differences would drift.
        self.left[resource] = round(self.declared.get(resource, 0.0) - self.used(resource), _DIGITS)
