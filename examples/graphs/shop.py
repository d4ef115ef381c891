"""The methods that the graphs of this folder call: a shop with a stock, cards and parcels.

weft up examples.graphs.shop:agent --with planner
weft run examples/graphs/order.yaml --input card=4711
"""

from __future__ import annotations

from typing import Any

from weft.agent import Agent, FailedPrecondition, NotFound, RetryLater

agent = Agent()
PRICES = {"desk": 30000.0, "lamp": 4000.0, "chair": 9000.0}


@agent.method("shop.v1.Stock/Reserve")
async def reserve(request: dict[str, Any]) -> dict[str, Any]:
    """A reservation of an item, and what it costs."""
    item = request["item"]
    if item not in PRICES:
        raise NotFound(f"there is no {item} in stock")
    return {"reservation": f"reserved {item}", "cents": PRICES[item]}


@agent.method("shop.v1.Stock/Release")
async def release(request: dict[str, Any]) -> dict[str, Any]:
    return {"released": request["reservation"]}


@agent.method("shop.v1.Stock/Total")
async def total(request: dict[str, Any]) -> dict[str, Any]:
    """The sum of reservations."""
    return {"cents": sum(each["cents"] for each in request["reservations"])}


@agent.method("shop.v1.Cards/Charge")
async def charge(request: dict[str, Any]) -> dict[str, Any]:
    if request["card"] == "expired":
        raise FailedPrecondition("the card has expired")
    return {"receipt": f"{request['cents']:.0f} cents of card {request['card']}"}


@agent.method("shop.v1.Cards/Refund")
async def refund(request: dict[str, Any]) -> dict[str, Any]:
    return {"refunded": request["receipt"]}


@agent.method("shop.v1.Parcels/Send")
async def send(request: dict[str, Any]) -> dict[str, Any]:
    """By a courier, who does not come on Sundays."""
    if request.get("day") == "sunday":
        raise RetryLater("the courier does not come on Sundays")
    return {"parcel": f"{len(request['reservations'])} items by courier"}


@agent.method("shop.v1.Parcels/Post")
async def post(request: dict[str, Any]) -> dict[str, Any]:
    """By post, which always works."""
    return {"parcel": f"{len(request['reservations'])} items by post"}
