"""An agent as text for people: state, load, and why it gets many tasks, few or none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from weft.cli.rendering.host_facts import host_facts
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText
from weft.cli.terminal.tables import Verbatim
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.client import AgentInfo
    from weft.client.agent_snapshot import Ejection

STYLES = {
    "ACTIVE": "green",
    "DRAINING": "yellow",
    "PAUSED": "yellow",
    "SUSPECT": "red",
    "LOST": "red",
    "LEFT": "dim",
}


def styled_state(agent: AgentInfo) -> list[str | Styled]:
    """The agent's state, with what is out of the ordinary."""
    state: list[str | Styled] = [Styled(agent.state.name, STYLES.get(agent.state.name, ""))]
    if agent.desired_state.name not in {"ACTIVE", agent.state.name}:
        state.append(Styled(f" (desired: {agent.desired_state.name})", ""))
    if agent.failing:
        state.append(Styled(" (on trial)" if _on_trial(agent.ejection) else " (failing)", "red"))
    if agent.slow_methods:
        state.append(Styled(" (slow)", "yellow"))
    return state


def _on_trial(ejection: Ejection | None) -> bool:
    return ejection is not None and ejection.ends_at is not None and ejection.ends_at <= datetime.now(UTC)


def why_little(agent: AgentInfo) -> list[str]:
    """Why the agent gets few tasks, or none, by the outcomes of its attempts: one sentence a reason."""
    told: list[str] = []
    if agent.failing and agent.ejection is not None:
        told.append(_failing(agent.ejection))
    for method, slow in sorted(agent.slow_methods.items()):
        told.append(
            f"{names.short(method)} takes {moments.span(slow.attempt_s)} here and {moments.span(slow.typical_s)} elsewhere:"
            " it gets its tasks after other agents"
        )
    return told


def _failing(ejection: Ejection) -> str:
    from weft.rpc.errors import status_code

    if ejection.failures < 3:
        happened = "more of its attempts failed than at agents with the same methods"
    else:
        last = status_code(ejection.code).name if ejection.code else "a crash"
        happened = f"{ejection.failures} attempts in a row failed, the last with {last}"
    if _on_trial(ejection) or ejection.ends_at is None:
        return f"{happened}: on trial, with one at a time until one succeeds"
    return f"{happened}: others get its tasks for {moments.until(ejection.ends_at)}, then it is on trial"


def facts(agent: AgentInfo) -> list[tuple[str, StyledText | Verbatim]]:
    """Names and values that describe an agent."""
    methods = "\n".join(
        f"{name}{' (down)' if name in agent.unavailable else ''}{f', {cost} slots' if cost > 1 else ''}"
        for name, cost in sorted(agent.methods.items())
    )
    direct = agent.advertised_address and f"{agent.advertised_address}, {agent.direct_state.name.lower()}"
    if agent.tls_name:
        direct += f", TLS as {agent.tls_name}"
    has = [f"{key}={value}" for key, value in sorted(agent.labels.items())]
    has += [f"{key}={amount:g}" for key, amount in sorted(agent.resources.items())]
    found: list[tuple[str, StyledText | Verbatim]] = [
        ("agent", agent.id),
        ("state", styled_state(agent)),
        ("gets little", Verbatim("\n".join(why_little(agent)))),
        ("slots", f"{agent.used_slots} of {agent.slots} used, {agent.in_flight} attempts"),
        (
            "overrun",
            f"{agent.overrun_slots} slots: {', '.join(agent.overrun_methods)}" if agent.overrun_slots else "",
        ),
        ("labels", " ".join(has)),
        ("methods", Verbatim(methods)),
        ("direct", direct or "off"),
        ("problem", agent.direct_problem),
        ("version", agent.version),
        ("cpu", f"{agent.process_cpu_cores * 100:.0f} %"),
        ("memory", moments.size(agent.process_memory_bytes)),
        *host_facts(agent.host),
        ("gauges", " ".join(f"{name}={value:g}" for name, value in sorted(agent.gauges.items()))),
        ("backlog", f"counts as {agent.backlog_slots:g} used slots" if agent.backlog_slots else ""),
        ("connected", moments.since(agent.connected_at)),
        ("seen", f"{moments.since(agent.last_seen_at)} ago" if agent.last_seen_at else ""),
    ]
    return [(name, value) for name, value in found if value and value != Verbatim("")]
