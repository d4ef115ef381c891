"""When a client asks again which agent has a sticky session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from weft.rpc.balancing.sticky_picks import AGAIN_S, StickyPicks
from weft.rpc.calls.session_keys import StickyCall
from weft.v1 import sticky_pb2

METHOD, SOFT = "a.v1.S/M", StickyCall("k", hard=False, idle_ttl_s=60.0)


class Endpoints:
    """Those of a client: the agents that take calls here, by what it has been told so far."""

    def __init__(self, *agents: str) -> None:
        self.now_s = 100.0
        self.agents = list(agents)

    def clock(self) -> float:
        return self.now_s

    def free(self, method: str, tried: Any) -> list[Any]:
        return [self._at(each) for each in self.agents]

    def hosted_at(self, method: str, agent_id: str, instance_id: str = "") -> Any:
        return self._at(agent_id) if agent_id in self.agents else None

    def take(self, hosted: Any) -> Any:
        return hosted

    def _at(self, agent_id: str) -> Any:
        return SimpleNamespace(endpoint=SimpleNamespace(agent_id=agent_id, slots=1))


async def test_an_agent_that_drains_soon_after_it_was_found_is_asked_for_again() -> None:
    """The coordinator knows it before the client; so it is not asked again and again meanwhile. But then the client knows it, too."""
    asked: list[str] = []

    async def find(method: str, call: StickyCall) -> sticky_pb2.FindStickySessionResponse:
        asked.append(call.key)
        return sticky_pb2.FindStickySessionResponse(agent_id="new", valid={"seconds": 5})

    endpoints = Endpoints("old")
    picks = StickyPicks(cast("Any", endpoints), find)

    def picked() -> str:
        return picks.pick(METHOD, SOFT).endpoint.agent_id

    assert not picks.ready(METHOD, SOFT)
    await picks.ask(METHOD, SOFT)
    assert picks.ready(METHOD, SOFT), "for a moment"
    assert picked() == "old"
    endpoints.agents = ["old", "new"]
    assert picks.ready(METHOD, SOFT)
    assert picked() == "new"
    endpoints.agents = ["old"]
    assert not picks.ready(METHOD, SOFT)
    await picks.ask(METHOD, SOFT)
    assert picks.ready(METHOD, SOFT)
    endpoints.now_s += AGAIN_S
    assert not picks.ready(METHOD, SOFT)
    assert len(asked) == 2
