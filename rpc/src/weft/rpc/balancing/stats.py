"""What a balancer has done so far, for tests and for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Counts since the balancer was made."""

    # Attempts given to each agent, by its id: calls and retries.
    picks: Counter[str] = field(default_factory=Counter)
    # Calls tried again on another endpoint.
    retries: int = 0
    # Retries that the budget forbade.
    budget_refusals: int = 0
    # Endpoints ejected for failing more than others.
    ejections: int = 0
    # Choices made in a panic: ejected endpoints could be chosen, too.
    panics: int = 0
    # Calls refused because every endpoint was at its bound.
    bound_refusals: int = 0
    # Times that no agent took direct calls of a method: calls refused, and looks of those that wait for one.
    no_agent: int = 0
