"""Counts of a balancer's work, for tests and for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Counts since the balancer was made."""

    # Attempts at each agent, by agent id: first attempts and retries.
    picks: Counter[str] = field(default_factory=Counter)
    # Attempts after the first.
    retries: int = 0
    # Retries that the budget did not allow.
    budget_refusals: int = 0
    # Endpoints ejected because their calls failed more often than others'.
    ejections: int = 0
    # Choices made in a panic: ejected endpoints could be chosen too.
    panics: int = 0
    # Calls refused because every endpoint was at its bound.
    bound_refusals: int = 0
    # Picks that found no agent for direct calls of the method: refused calls, and the looks of waiting calls.
    no_agent: int = 0
