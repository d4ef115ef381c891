"""A worker: it hears the heartbeats of the others, and reads the settings that the admin writes. `weft agent examples.fleet.worker:agent`"""

import asyncio
import json
import os
from pathlib import Path

from weft.agent import Agent, Connected, Disconnected

agent = Agent()
heard: set[str] = set()
settings: dict[str, object] = {}


@agent.on_connect
def connected(session: Connected) -> None:
    if (file := Path(os.environ["FLEET_SETTINGS"])).exists():
        settings.update(json.loads(file.read_text()))
    print(f"connected to {session.coordinator_id}, settings {settings}", flush=True)


@agent.on_disconnect
def disconnected(why: Disconnected) -> None:
    print("the coordinator stops" if why.stopping else f"lost: {why.message}", flush=True)


@agent.on_message
def told(message: dict) -> None:
    if "heartbeat" in message:
        heard.add(message["heartbeat"])
    else:
        settings.update(json.loads(Path(message["settings"]).read_text()))


@agent.background
async def beat() -> None:
    while True:
        await agent.mesh.broadcast({"heartbeat": agent.id})
        await asyncio.sleep(0.5)


@agent.method("fleet.v1.Worker/Show")
async def show(_request: dict) -> dict:
    return {"heard": sorted(heard), "settings": settings}
