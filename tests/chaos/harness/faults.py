"""The faults: each hits one part of a deployment once, is lifted again, and records both times. Those of Redis:
`redis_faults`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.harness.deployment import Deployment, Part

# An agent that is back has heard within this what it has lost.
HEARS_S = 2.0
# A killed agent is started again within this: sometimes before its attempts are given up, sometimes after.
AGENT_AWAY_S = 3.0
# One of several coordinators stays away for so long at most: its agents find another one meanwhile, or do not.
COORDINATOR_AWAY_S = 2.0
# Shorter than the 2 s in which a broken session is waited for, and than three missed heartbeats of 1 s.
BLIP_S = 1.0

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault's victim and times, by the ledger's wall clock."""

    fault: str
    part: Part
    victim: str
    struck_at_s: float
    # When the fault was over: the process started again, the link whole.
    lifted_at_s: float
    # Agents whose attempts may run again because of it, as far as they had begun by then.
    disowned: frozenset[str] = _NOBODY
    disowned_until_s: float = 0.0
    # Unacknowledged tasks may run again too, at any agent.
    volatile: bool = False
    # Agents that got nothing to do while it lasted.
    bereft: frozenset[str] = _NOBODY


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` waits for nothing but the fault's own course."""

    name: str
    part: Part
    strike: Callable[[Deployment, random.Random], Awaitable[Blow]]


async def _kill_coordinator(mesh: Deployment, rng: random.Random) -> Blow:
    name, away_s = rng.choice(mesh.coordinator_names), rng.uniform(0, COORDINATOR_AWAY_S)
    return await _restart_coordinator(mesh, "coordinator-killed", name, away_s)


async def _turn_clock(mesh: Deployment, rng: random.Random) -> Blow:
    name = rng.choice(mesh.coordinator_names)
    off_s = -mesh.clock_off_s(name)
    return await _restart_coordinator(mesh, "clock-turned", name, 0.0, off_s)


async def _restart_coordinator(
    mesh: Deployment, fault: str, name: str, away_s: float, off_s: float | None = None
) -> Blow:
    struck_at_s = time.time()
    bereft = frozenset(agent_id for agent_id in mesh.agent_ids if mesh.home(agent_id) == name)
    await mesh.kill_coordinator(name)
    dead_at_s = time.time()
    if len(mesh.coordinator_names) > 1:
        await asyncio.sleep(away_s)
    await mesh.start_coordinator(name, off_s)
    return Blow(
        fault,
        Part.COORDINATOR,
        name,
        struck_at_s,
        dead_at_s,
        # Agents go on with what waits for a slot there, until they hear that nobody knows of it any more.
        disowned_until_s=time.time() + HEARS_S,
        volatile=Part.COORDINATOR in mesh.volatile,
        bereft=bereft,
    )


async def _kill_agent(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id, away_s = rng.choice(mesh.agent_ids), rng.uniform(0, AGENT_AWAY_S)
    struck_at_s = time.time()
    await mesh.kill_agent(agent_id)
    dead_at_s = time.time()
    await asyncio.sleep(away_s)
    lifted_at_s = time.time()
    await mesh.start_agent(agent_id)
    return Blow(
        "agent-killed", Part.AGENT, agent_id, struck_at_s, lifted_at_s, frozenset({agent_id}), dead_at_s
    )


async def _pause_agent(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id = rng.choice(mesh.agent_ids)
    await mesh.until_active(agent_id)
    struck_at_s = time.time()
    mesh.pause_agent(agent_id)
    try:
        await mesh.until_lost(agent_id)
    finally:
        mesh.resume_agent(agent_id)
    return _away("agent-paused", Part.AGENT, agent_id, struck_at_s)


async def _cut_link(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id = rng.choice(mesh.agent_ids)
    return await _past_the_lease(mesh, agent_id, "link-cut", mesh.cut_link)


async def _silence_link(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id = rng.choice(mesh.agent_ids)
    return await _past_the_lease(mesh, agent_id, "link-silent", mesh.silence_link)


async def _past_the_lease(
    mesh: Deployment, agent_id: str, fault: str, part_it: Callable[[str], Awaitable[None]]
) -> Blow:
    await mesh.until_active(agent_id)
    struck_at_s = time.time()
    await part_it(agent_id)
    try:
        await mesh.until_lost(agent_id)
    finally:
        await mesh.heal_link(agent_id)
    return _away(fault, Part.LINK, agent_id, struck_at_s)


def _away(fault: str, part: Part, agent_id: str, struck_at_s: float) -> Blow:
    """An agent was away past its lease until now, and knew nothing of it."""
    now_s = time.time()
    return Blow(fault, part, agent_id, struck_at_s, now_s, frozenset({agent_id}), now_s + HEARS_S)


async def _cut_link_briefly(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id = rng.choice(mesh.agent_ids)
    await mesh.until_active(agent_id)
    struck_at_s = time.time()
    await mesh.cut_link(agent_id)
    await asyncio.sleep(BLIP_S)
    await mesh.heal_link(agent_id)
    # Nothing may run again: it disowns nobody.
    return Blow("link-blip", Part.LINK, agent_id, struck_at_s, time.time())


async def _move_agent(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id = rng.choice(mesh.agent_ids)
    await mesh.until_active(agent_id)
    struck_at_s, home = time.time(), mesh.home(agent_id)
    await mesh.cut_link(agent_id, home)
    await asyncio.sleep(AGENT_AWAY_S)
    await mesh.heal_link(agent_id)
    # It goes on at another coordinator with all that it holds.
    return Blow("home-cut", Part.HOME, agent_id, struck_at_s, time.time(), bereft=frozenset({agent_id}))


COORDINATOR_KILLED = Fault("coordinator-killed", Part.COORDINATOR, _kill_coordinator)
CLOCK_TURNED = Fault("clock-turned", Part.COORDINATOR, _turn_clock)
AGENT_KILLED = Fault("agent-killed", Part.AGENT, _kill_agent)
AGENT_PAUSED = Fault("agent-paused", Part.AGENT, _pause_agent)
LINK_CUT = Fault("link-cut", Part.LINK, _cut_link)
LINK_SILENT = Fault("link-silent", Part.LINK, _silence_link)
LINK_BLIP = Fault("link-blip", Part.LINK, _cut_link_briefly)
HOME_CUT = Fault("home-cut", Part.HOME, _move_agent)
