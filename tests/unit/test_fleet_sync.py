"""A coordinator shares each change of its agents with others, also a change during the sharing of another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.sessions import session
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.fleet_sync import FleetSync
from weft.rpc.errors import WeftError
from weft.rpc.refusals import store_unavailable
from weft.v1 import fleet_pb2

REACHABLE = fleet_pb2.DIRECT_STATE_REACHABLE


class SharedStore:
    """A shared store that others change or that fails, while it is asked to share."""

    shared = True
    fleet_moved = True

    def __init__(self) -> None:
        self.seen: list[fleet_pb2.DirectState] = []
        self.meanwhile: list[Any] = []

    def now(self) -> float:
        return 0.0

    async def agent_news(self, touched: set[str]) -> dict[str, None]:
        return {}

    async def share(self, views: dict[str, tuple[int, bytes]], loads: dict[str, bytes]) -> None:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        self.seen += [fleet_pb2.Agent.FromString(view).direct_state for _, view in views.values()]


@pytest.fixture
def store() -> SharedStore:
    return SharedStore()


async def test_a_change_during_sharing_is_shared_next(store: SharedStore) -> None:
    one = session("a")
    sync = sync_of(store, one)
    sync.session_changed(one)

    def reached() -> None:
        one.set_direct_problem("")
        sync.session_changed(one)

    store.meanwhile = [reached]
    await sync.run_once(1.0)
    await sync.run_once(2.0)
    assert store.seen[-1] == REACHABLE
    count = len(store.seen)
    await sync.run_once(3.0)
    assert len(store.seen) == count, "nothing has changed since"


async def test_what_could_not_be_shared_is_shared_later(store: SharedStore) -> None:
    one = session("a")
    sync = sync_of(store, one)
    sync.session_changed(one)

    def away() -> None:
        raise store_unavailable("it is away", 1.0)

    store.meanwhile = [away]
    with pytest.raises(WeftError):
        await sync.run_once(1.0)
    assert store.seen == []
    await sync.run_once(2.0)
    assert len(store.seen) == 1


async def test_an_agent_is_shared_when_its_contract_was_accepted(store: SharedStore) -> None:
    one = session("a")
    one.accepted = False
    sync = sync_of(store, one)
    sync.session_changed(one)
    await sync.run_once(1.0)
    assert store.seen == []
    one.accepted = True
    sync.session_changed(one)
    await sync.run_once(2.0)
    assert len(store.seen) == 1


def sync_of(store: SharedStore, *sessions: Any) -> FleetSync:
    by_id = {each.owner.agent_id: each for each in sessions}
    parts = SimpleNamespace(all=by_id.values, get=by_id.get, stale_refused={}, set_desired=None, forget=None)
    return FleetSync(
        cast("Any", store), AgentRegister(), cast("Any", parts), hasten=lambda: None, forget_after_s=60
    )
