"""An agent whose calls take as long as its environment says. `weft agent tests.support.delayed:agent` runs it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from weft.agent import Agent

WAIT = "delay.v1.DelayService/Wait"
DELAY_S = float(os.environ.get("DELAY_S", "0"))

agent = Agent()


@agent.method(WAIT)
async def wait(request: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(DELAY_S)
    return request
