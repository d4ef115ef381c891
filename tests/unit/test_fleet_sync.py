"""A coordinator shares each change of its agents with others, also a change during the sharing of another."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.sessions import session
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.fleet_sync import FleetSync
from weft.coordinator.store.records import AgentRecord
from weft.rpc.errors import WeftError
from weft.rpc.refusals import store_unavailable
from weft.v1 import fleet_pb2

REACHABLE = fleet_pb2.DIRECT_STATE_REACHABLE
ACTIVE, DESIRED = fleet_pb2.AGENT_STATE_ACTIVE, fleet_pb2.DESIRED_STATE_ACTIVE


class SharedStore:
    """A shared store that others change or that fails, while it is asked to share."""

    shared = True
    fleet_moved = True

    def __init__(self) -> None:
        self.seen: list[fleet_pb2.DirectState] = []
        self.meanwhile: list[Any] = []
        self.news: dict[str, AgentRecord] = {}

    def now(self) -> float:
        return 0.0

    async def agent_news(self, touched: set[str]) -> dict[str, AgentRecord]:
        news, self.news = self.news, {}
        return news

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


async def test_an_agent_elsewhere_is_shown_when_its_methods_are_in_force_here(store: SharedStore) -> None:
    asked: list[set[str]] = []
    fails = True

    async def bring(methods: Iterable[str]) -> None:
        assert register.get("far") is None or register.get("far").shown is not None
        asked.append(set(methods))
        if fails:
            raise store_unavailable("away", retry_after_s=1.0)

    register = AgentRegister()
    sync = sync_of(store, register=register, bring=bring)
    far = fleet_pb2.Agent(
        id="far",
        epoch=7,
        state=ACTIVE,
        desired_state=DESIRED,
        contract_hash="h",
        methods=[fleet_pb2.HostedMethod(name="s/M")],
    )
    view = far.SerializeToString()
    record = AgentRecord("far", "i", 7, b"", connected=True, desired_state=0, view=view)
    store.news = {"far": record}
    with pytest.raises(WeftError):
        await sync.look(1.0)
    assert register.get("far") is None
    # The news is not lost.
    fails = False
    await sync.run_once(2.0)
    assert register.shown() == [far]
    assert asked == [{"s/M"}, {"s/M"}]
    # Its later news brings no other methods.
    store.news = {"far": record}
    await sync.look(3.0)
    assert asked[2] == set()


def sync_of(
    store: SharedStore, *sessions: Any, register: AgentRegister | None = None, bring: Any = None
) -> FleetSync:
    by_id = {each.owner.agent_id: each for each in sessions}
    parts = SimpleNamespace(all=by_id.values, get=by_id.get, stale_refused={}, set_desired=None, forget=None)
    register = AgentRegister() if register is None else register

    async def in_force(methods: Iterable[str]) -> None: ...

    return FleetSync(
        cast("Any", store),
        register,
        cast("Any", parts),
        hasten=lambda: None,
        bring_contracts=bring or in_force,
        forget_after_s=60,
    )
