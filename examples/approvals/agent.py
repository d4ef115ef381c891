"""Orders that a person approves: a handler that takes days, and holds no slot while it waits.

    weft agent examples.approvals.agent:agent
    weft submit shop.v1.Orders/Place '{"item": "desk", "card": "4711"}'
    weft tasks get ID                                      # it waits for a signal
    weft tasks signal ID approve '{"by": "ann"}'

Kill agent and coordinator whenever you like: each step is taken once, unless its own agent dies within it.
"""

from __future__ import annotations

import uuid
from typing import Any

from weft.agent import Agent, current_task

agent = Agent()


@agent.method("shop.v1.Cards/Charge")
async def charge(request: dict[str, Any]) -> dict[str, Any]:
    """A method of its own: its task is retried by its own policy, and remembered by the order."""
    return {"receipt": f"charged {request['card']} for {request['item']}"}


@agent.method("shop.v1.Orders/Place", durable_children=True)
async def place(request: dict[str, Any]) -> dict[str, Any]:
    task = current_task()
    number = await task.step("number", new_number)
    try:
        approval = await task.wait_signal("approve", timeout_s=3 * 86400)
    except TimeoutError:
        return {"number": number, "state": "nobody approved it"}
    charged = await charge.call(task.mesh, request)
    # The card's day of grace.
    await task.sleep(86400)
    return {"number": number, "by": approval["by"], **charged}


def new_number() -> str:
    """Something that must be done once: here, a number that is generated."""
    return f"order-{uuid.uuid4().hex[:8]}"
