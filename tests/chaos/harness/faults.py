"""The faults: each strikes one part of a deployment once, lifts what it did, and says when."""

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
# Shorter than the 2 s in which a broken session is waited for, and than three missed heartbeats of 1 s.
BLIP_S = 1.0


@dataclass(frozen=True, slots=True)
class Blow:
    """What happened to whom, by the wall clock that the ledger goes by."""

    fault: str
    part: Part
    victim: str
    struck_at_s: float
    # When the fault was over: the process started again, the link whole.
    lifted_at_s: float
    # The last moment at which the victim may have started what it does not own any more.
    disowned_until_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` waits for nothing but the fault's own course."""

    name: str
    part: Part
    strike: Callable[[Deployment, random.Random], Awaitable[Blow]]


async def _kill_coordinator(mesh: Deployment, rng: random.Random) -> Blow:
    name = rng.choice(mesh.coordinator_names)
    struck_at_s = time.time()
    await mesh.kill_coordinator(name)
    dead_at_s = time.time()
    await mesh.start_coordinator(name)
    return Blow("coordinator-killed", Part.COORDINATOR, name, struck_at_s, dead_at_s, dead_at_s)


async def _kill_agent(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id, away_s = rng.choice(mesh.agent_ids), rng.uniform(0, AGENT_AWAY_S)
    struck_at_s = time.time()
    await mesh.kill_agent(agent_id)
    dead_at_s = time.time()
    await asyncio.sleep(away_s)
    lifted_at_s = time.time()
    await mesh.start_agent(agent_id)
    return Blow("agent-killed", Part.AGENT, agent_id, struck_at_s, lifted_at_s, dead_at_s)


async def _pause_agent(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id = rng.choice(mesh.agent_ids)
    await mesh.until_active(agent_id)
    struck_at_s = time.time()
    mesh.pause_agent(agent_id)
    try:
        await mesh.until_lost(agent_id)
    finally:
        mesh.resume_agent(agent_id)
    lifted_at_s = time.time()
    return Blow("agent-paused", Part.AGENT, agent_id, struck_at_s, lifted_at_s, lifted_at_s + HEARS_S)


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
    lifted_at_s = time.time()
    return Blow(fault, Part.LINK, agent_id, struck_at_s, lifted_at_s, lifted_at_s + HEARS_S)


async def _cut_link_briefly(mesh: Deployment, rng: random.Random) -> Blow:
    agent_id = rng.choice(mesh.agent_ids)
    await mesh.until_active(agent_id)
    struck_at_s = time.time()
    await mesh.cut_link(agent_id)
    await asyncio.sleep(BLIP_S)
    await mesh.heal_link(agent_id)
    lifted_at_s = time.time()
    # Nothing may run again: it disowns nobody.
    return Blow("link-blip", Part.LINK, agent_id, struck_at_s, lifted_at_s, 0)


COORDINATOR_KILLED = Fault("coordinator-killed", Part.COORDINATOR, _kill_coordinator)
AGENT_KILLED = Fault("agent-killed", Part.AGENT, _kill_agent)
AGENT_PAUSED = Fault("agent-paused", Part.AGENT, _pause_agent)
LINK_CUT = Fault("link-cut", Part.LINK, _cut_link)
LINK_SILENT = Fault("link-silent", Part.LINK, _silence_link)
LINK_BLIP = Fault("link-blip", Part.LINK, _cut_link_briefly)
