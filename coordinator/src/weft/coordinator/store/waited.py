"""What a task did until a time limit ended it, in words: for its stored outcome, and for its caller. Pure."""

from __future__ import annotations

# After a restart on the embedded store.
AGENTS_OF_BEFORE = "the agents that were connected before the coordinator's restart"


def queued(seconds: float, text: str) -> str:
    """It was ready. `text`: what it waited for; empty: not known."""
    return f"queued {seconds:.1f} s for {text or 'an agent with a free slot'}"


def scheduled(text: str) -> str:
    """It was not ready yet. `text`: `start_time` or `next_try`."""
    return f"waited for {text}"


def start_time(in_s: float) -> str:
    return f"its start time, in {in_s:.1f} s"


def next_try(failures: int, max_attempts: int, in_s: float) -> str:
    return f"its next try, {failures + 1} of {max_attempts}, in {in_s:.1f} s"


def suspended(what: str, in_s: float | None) -> str:
    """Its handler has given its slot back. `what`: for what it waits, as it says; `in_s`: for how long at most; None: without limit."""
    text = what or "its handler to go on"
    return text if in_s is None else f"{text}, for at most {in_s:.1f} s"


def running(attempt: int, max_attempts: int, agent_id: str, seconds: float) -> str:
    """An attempt was running."""
    # Attempts that only waited are not counted.
    of = f" of {max_attempts}" if attempt <= max_attempts else ""
    return f"attempt {attempt}{of} was running at agent {agent_id} for {seconds:.1f} s"
