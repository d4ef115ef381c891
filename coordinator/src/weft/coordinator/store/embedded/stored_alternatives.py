"""The text of a task's alternatives, as the file has it: JSON."""

from __future__ import annotations

import json
from typing import Any

from weft.coordinator.store import stored_options
from weft.coordinator.store.alternatives import Alternative, Alternatives
from weft.coordinator.store.rules import Requirements
from weft.coordinator.store.run_limits import LockClaim


def encode(alternatives: Alternatives) -> str:
    """The text in the file."""
    steps = [
        (
            each.method,
            [dict(part) for part in each.requirements],
            stored_options.encode(_options(each)),
            each.schedule_to_start_s,
            each.limit_keys,
            each.locks,
        )
        for each in alternatives.all
    ]
    return json.dumps([alternatives.at, alternatives.since, steps], separators=(",", ":"))


def decode(text: str) -> Alternatives:
    """The alternatives behind a text."""
    at, since, steps = json.loads(text)
    return Alternatives(tuple(_decoded(*step) for step in steps), at, since)


def _decoded(
    method: str,
    requirements: list[dict[str, Any]],
    options: str,
    to_start_s: float | None,
    keys: Any,
    locks: Any,
) -> Alternative:
    given = stored_options.decode(options)
    return Alternative(
        method,
        Requirements.of(*requirements),
        given.retry,
        to_start_s,
        given.start_to_close_s,
        tuple((expression, value) for expression, value in keys),
        tuple(LockClaim(*each) for each in locks),
    )


def _options(each: Alternative) -> stored_options.StoredOptions:
    return stored_options.LEFT_OUT._replace(retry=each.retry, start_to_close_s=each.start_to_close_s)
