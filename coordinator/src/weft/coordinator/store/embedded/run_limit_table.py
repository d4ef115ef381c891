"""Run limits in the file; the gates have them in memory."""

from __future__ import annotations

import sqlite3

from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.run_limits import LimitAction, RunLimitRule, RunLimitRules


def read_all(connection: sqlite3.Connection) -> dict[str, dict[str, RunLimitRule]]:
    """All run limits, by method and key expression."""
    found: dict[str, dict[str, RunLimitRule]] = {}
    rows = connection.execute(
        "SELECT method, expression, max_running, rate_per_s, burst, at_limit, grace_s FROM run_limits"
    )
    for method, expression, max_running, rate_per_s, burst, at_limit, grace_s in rows:
        rule = RunLimitRule(max_running, rate_per_s, burst, LimitAction(at_limit), grace_s)
        found.setdefault(method, {})[expression] = rule
    return found


def replace(journal: Journal, method: str, rules: RunLimitRules) -> None:
    """Write the run limits of a method."""
    journal.add_statement("DELETE FROM run_limits WHERE method = ?", method)
    for expression, rule in rules.items():
        journal.add_statement(
            "INSERT INTO run_limits (method, expression, max_running, rate_per_s, burst, at_limit, grace_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            method,
            expression,
            rule.max_running,
            rule.rate_per_s,
            rule.burst,
            int(rule.at_limit),
            rule.grace_s,
        )
