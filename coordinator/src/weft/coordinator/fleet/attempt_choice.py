"""Why an agent had an attempt: the words of `Attempt.choice`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.fleet.agent_standing import TOLD, AgentStanding, agents
from weft.coordinator.store.history import suspension
from weft.coordinator.store.records import AttemptRecord


def retry_choices(attempts: Sequence[AttemptRecord]) -> list[str]:
    """For each attempt why its agent had it, by the attempt before it. Empty: there is nothing to tell."""
    choices = [""] * len(attempts)
    for at in range(1, len(attempts)):
        before, attempt = attempts[at - 1], attempts[at]
        if before.released or before.ended_at is None or suspension(before) is not None:
            continue
        happened = f"attempt {before.number} {'was lost' if before.crashed else 'failed'}"
        if attempt.agent_id != before.agent_id:
            choices[at] = f"another agent than {before.agent_id}, where {happened}"
        else:
            choices[at] = f"the same agent again, though {happened}: no other had a free slot for it"
    return choices


def running_choice(choice: str, standing: AgentStanding) -> str:
    """The same for an attempt that runs, with the agents that get few tasks now."""
    if not standing.failing:
        return choice
    named = ", ".join(standing.failing[:TOLD])
    more = len(standing.failing) - TOLD
    left_out = (
        f"{named}{f' and {more} more' if more > 0 else ''} left out, because attempts there keep failing"
    )
    among = f"one of {agents(standing.taking)}; {left_out}"
    return f"{choice}; {left_out}" if choice else among
