"""Runs all checks in order, within a time limit, and collects their findings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from weft.cli.conformance import attempt_checks, ending_checks, keeping_checks, opening_checks
from weft.cli.conformance.agent_under_test import AgentUnderTest
from weft.cli.conformance.protocol_rules import RULES, NotChecked, RuleBroken

Verdict = Literal["passed", "failed", "left out", "skipped"]

# In order. The last two end the agent.
CHECKS: Mapping[str, Callable[[AgentUnderTest], Awaitable[None]]] = {
    **opening_checks.CHECKS,
    **attempt_checks.CHECKS,
    **keeping_checks.CHECKS,
    **ending_checks.CHECKS,
    **ending_checks.LAST,
    **opening_checks.LAST,
}
# The time limit of one check.
CHECK_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. `reason`: why it did not pass."""

    rule: str
    verdict: Verdict
    reason: str
    took_s: float


async def check(
    agent: AgentUnderTest, rules: Collection[str], limit_s: float, tell: Callable[[Finding], None]
) -> list[Finding]:
    """Check these rules in order. Rules that are not checked within the time limit have failed."""
    ends_at = time.monotonic() + limit_s
    found: list[Finding] = []
    for rule in [rule for rule in CHECKS if rule in rules]:
        began_at = time.monotonic()
        left_s = min(CHECK_S, ends_at - began_at)
        verdict, reason = (
            await _verdict(agent, rule, left_s) if left_s > 0 else ("failed", "there was no time left")
        )
        finding = Finding(rule, verdict, reason, time.monotonic() - began_at)
        found.append(finding)
        tell(finding)
    return sorted(found, key=lambda finding: list(RULES).index(finding.rule))


async def _verdict(agent: AgentUnderTest, rule: str, limit_s: float) -> tuple[Verdict, str]:
    try:
        async with asyncio.timeout(limit_s):
            await CHECKS[rule](agent)
    except NotChecked as error:
        return "skipped", str(error)
    except (RuleBroken, TimeoutError) as error:
        # The next check starts with a new session.
        await agent.drop()
        reason = str(error) or f"the check did not end within {limit_s:.0f} s"
        return ("left out" if RULES[rule].optional else "failed"), reason
    return "passed", ""
