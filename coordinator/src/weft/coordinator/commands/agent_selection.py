"""Which agents a selector selects. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.registered_agent import RegisteredAgent
from weft.coordinator.sessions.hello import MAX_LABELS
from weft.rpc import refusals
from weft.v1 import command_pb2

MAX_IDS = 10_000


class Selection(NamedTuple):
    """The selected agents."""

    connected: list[str]
    # Known, and not connected.
    away: list[str]
    # Not known to any coordinator.
    unknown: list[str]


def check_selector(selector: command_pb2.AgentSelector) -> None:
    """Refuse a selector that is out of bounds, or selects nothing in particular.

    Raises:
        InvalidArgument
    """
    if len(selector.agent_ids) > MAX_IDS:
        raise refusals.invalid_field(f"at most {MAX_IDS} agent_ids", field="selector.agent_ids")
    if len(selector.labels) > MAX_LABELS:
        raise refusals.invalid_field(f"at most {MAX_LABELS} labels", field="selector.labels")
    if not (selector.agent_ids or selector.method or selector.labels or selector.all):
        raise refusals.invalid_field(
            "the selector selects nothing: give agent_ids, a method or labels, or set `all` for all connected agents",
            field="selector",
        )


def selected(register: AgentRegister, selector: command_pb2.AgentSelector) -> Selection:
    """The agents for which all of a selector holds. Agents that are not connected are among them only if it names them."""
    found = Selection([], [], [])
    for agent_id in dict.fromkeys(selector.agent_ids):
        entry = register.get(agent_id)
        if entry is None:
            found.unknown.append(agent_id)
        elif _fits(entry, selector):
            (found.connected if entry.connected else found.away).append(agent_id)
    if not selector.agent_ids:
        found.connected.extend(_connected(register, selector))
    return found


def _connected(register: AgentRegister, selector: command_pb2.AgentSelector) -> Iterator[str]:
    for agent_id in sorted(register.ids()):
        entry = register.get(agent_id)
        if entry is not None and entry.connected and _fits(entry, selector):
            yield agent_id


def _fits(entry: RegisteredAgent, selector: command_pb2.AgentSelector) -> bool:
    if selector.method and selector.method not in entry.methods:
        return False
    labels = entry.agent.labels
    # Not by `labels[key]`, which would add the key.
    return all(labels.get(key) == value for key, value in selector.labels.items())
