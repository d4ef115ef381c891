"""An agent of `prioritized.v1.Service/Do`, whose priority is the variable PRIORITY: for agents whose options differ."""

from __future__ import annotations

import os
from typing import Any

from weft.agent import Agent

METHOD = "prioritized.v1.Service/Do"

agent = Agent()


@agent.method(METHOD, priority=int(os.environ.get("PRIORITY", "5")))
async def do(request: dict[str, Any]) -> dict[str, Any]:
    return request
