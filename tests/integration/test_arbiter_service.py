"""The arbiter in a mesh: two agents host it, one has GPUs; books survive whoever dies; found and called by clients that know nothing of weft."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.support.languages import Node, run
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from tests.support.reflecting import find_grpcurl, grpcurl
from tests.support.reservations import race_for, wanted
from weft.client import connect
from weft.rpc.times import timestamp
from weft.services.arbiter.v1 import arbiter_pb2, arbiter_pb2_grpc

SERVICE = "weft.services.arbiter.v1.ArbiterService"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _hosting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("arbiter")) as harness:
        await harness.coordinator(recovery_grace_s=1, reconnect_grace_s=0.5)
        harness.agent_env = {
            "WEFT_ARBITER_AMOUNTS": '{"licence": 5, "scarce": 1, "node": 1}',
            "WEFT_ARBITER_MAX_RESERVATIONS": "20",
        }
        await harness.agent(
            "one", program="", services="arbiter", resources={"gpu": 2}, labels={"zone": "eu"}
        )
        await harness.agent("two", program="", services="arbiter", resources={"gpu": 1})
        await harness.close_channels()
        yield harness


@pytest.fixture
async def hosting(_hosting: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _hosting
    await _hosting.close_channels()


@pytest.fixture
def stub(hosting: MeshHarness) -> Any:
    return arbiter_pb2_grpc.ArbiterServiceStub(hosting.channel())


async def refused(call: Any, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == code, error.value.details()
    return str(error.value.details())


async def test_reserve_conflict_and_explain(stub: Any) -> None:
    first = await stub.Reserve(
        wanted("gpu", "ada", 2, labels={"zone": "eu"}, reservation_id="r1"), timeout=10
    )
    assert first.reservation.id == "r1"
    options = first.task_options
    assert dict(options.requirements.labels) == {"zone": "eu"}
    assert dict(options.consumes) == {"gpu": 2}
    assert 590 < options.limits.schedule_to_close.ToTimedelta().total_seconds() <= 600

    # There is one left, and none in that zone.
    text = await refused(
        stub.Reserve(wanted("gpu", "bob", 1, labels={"zone": "eu"}), timeout=10),
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    assert "3 gpu would be reserved now of 2 at agents with zone=eu; 'ada' has 2 until" in text
    assert "it fits from" in text
    second = await stub.Reserve(wanted("gpu", "bob"), timeout=10)
    assert second.reservation.id
    await refused(stub.Reserve(wanted("gpu", "eve"), timeout=10), grpc.StatusCode.FAILED_PRECONDITION)

    why = await stub.ExplainConflict(
        arbiter_pb2.ExplainConflictRequest(resource="gpu", amount=3, duration={"seconds": 60}), timeout=10
    )
    assert not why.fits
    assert {each.holder for each in why.conflicts} == {"ada", "bob"}
    assert why.capacity == 3
    assert why.first_fit_time.ToSeconds() == second.reservation.end_time.ToSeconds()
    never = await stub.ExplainConflict(
        arbiter_pb2.ExplainConflictRequest(resource="gpu", amount=4, duration={"seconds": 60}), timeout=10
    )
    assert not never.HasField("first_fit_time")

    # Later is possible, if the caller says so.
    later = wanted("gpu", "eve", 3)
    later.latest_start_time.CopyFrom(timestamp(time.time() + 3600))
    third = (await stub.Reserve(later, timeout=10)).reservation
    assert third.start_time.ToSeconds() == second.reservation.end_time.ToSeconds()
    listed = await stub.ListReservations(arbiter_pb2.ListReservationsRequest(resource="gpu"), timeout=10)
    assert [each.holder for each in listed.reservations] == ["ada", "bob", "eve"]
    assert (listed.capacity, listed.reserved) == (3, 3)
    assert "nobody has 'tpu'" in await refused(
        stub.Reserve(wanted("tpu", "ada"), timeout=10), grpc.StatusCode.NOT_FOUND
    )


async def test_the_life_of_a_reservation(stub: Any) -> None:
    request = wanted("licence", "ada", 5, after_s=100, lasts_s=100, reservation_id="life")
    made = (await stub.Reserve(request, timeout=10)).reservation
    assert (await stub.Reserve(request, timeout=10)).reservation == made
    request.amount = 4
    await refused(stub.Reserve(request, timeout=10), grpc.StatusCode.ALREADY_EXISTS)

    named: Any = {"resource": "licence", "reservation_id": "life"}
    check = arbiter_pb2.CheckReservationRequest(**named, holder="ada")
    assert "it begins in" in await refused(
        stub.CheckReservation(check, timeout=10), grpc.StatusCode.FAILED_PRECONDITION
    )

    # The next one begins where it ends: it cannot be longer, but shorter.
    await stub.Reserve(wanted("licence", "bob", 1, after_s=200.5, reservation_id="next"), timeout=10)
    end_s = made.end_time.ToSeconds()
    longer = arbiter_pb2.ExtendRequest(**named, holder="ada", end_time=timestamp(end_s + 60))
    assert "'bob' has 1 until" in await refused(
        stub.Extend(longer, timeout=10), grpc.StatusCode.FAILED_PRECONDITION
    )
    longer.end_time.CopyFrom(timestamp(end_s - 30))
    assert (await stub.Extend(longer, timeout=10)).reservation.end_time.ToSeconds() == end_s - 30
    longer.end_time.CopyFrom(timestamp(1))
    await refused(stub.Extend(longer, timeout=10), grpc.StatusCode.INVALID_ARGUMENT)

    over = arbiter_pb2.HandOverRequest(**named, holder="ada", new_holder="eve")
    assert (await stub.HandOver(over, timeout=10)).reservation.holder == "eve"
    assert (await stub.HandOver(over, timeout=10)).reservation.holder == "eve"
    assert "is held by 'eve'" in await refused(
        stub.Extend(longer, timeout=10), grpc.StatusCode.FAILED_PRECONDITION
    )

    release = arbiter_pb2.ReleaseRequest(**named, holder="ada")
    await refused(stub.Release(release, timeout=10), grpc.StatusCode.FAILED_PRECONDITION)
    release.holder = "eve"
    assert (await stub.Release(release, timeout=10)).released
    assert not (await stub.Release(release, timeout=10)).released
    await refused(stub.CheckReservation(check, timeout=10), grpc.StatusCode.NOT_FOUND)


async def test_a_higher_priority_takes_the_place_of_what_has_not_begun(stub: Any) -> None:
    low = wanted("scarce", "low", after_s=60, reservation_id="low", priority=1)
    await stub.Reserve(low, timeout=10)
    high = wanted("scarce", "high", after_s=60, reservation_id="high", priority=8)
    await refused(stub.Reserve(high, timeout=10), grpc.StatusCode.FAILED_PRECONDITION)
    high.displace = True
    assert [each.id for each in (await stub.Reserve(high, timeout=10)).displaced] == ["low"]
    check = arbiter_pb2.CheckReservationRequest(resource="scarce", reservation_id="low", holder="low")
    assert "was displaced by high" in await refused(
        stub.CheckReservation(check, timeout=10), grpc.StatusCode.FAILED_PRECONDITION
    )
    low.reservation_id, low.displace = "low2", True
    await refused(stub.Reserve(low, timeout=10), grpc.StatusCode.FAILED_PRECONDITION)

    # What has begun stays, and ends by itself.
    now = wanted("scarce", "now", lasts_s=1, reservation_id="now", priority=0)
    began = (await stub.Reserve(now, timeout=10)).reservation
    held = arbiter_pb2.CheckReservationRequest(resource="scarce", reservation_id="now", holder="now")
    assert (await stub.CheckReservation(held, timeout=10)).remaining.ToTimedelta().total_seconds() <= 1
    top = wanted("scarce", "top", lasts_s=5, priority=9, displace=True, reservation_id="top")
    if time.time() < began.end_time.ToNanoseconds() / 1e9 - 0.5:
        await refused(stub.Reserve(top, timeout=10), grpc.StatusCode.FAILED_PRECONDITION)
    top.latest_start_time.CopyFrom(began.end_time)
    made = (await stub.Reserve(top, timeout=10)).reservation
    assert abs(made.start_time.ToNanoseconds() - began.end_time.ToNanoseconds()) < 2e9


async def test_racing_callers_never_overbook_and_books_survive(hosting: MeshHarness) -> None:
    await race_for("licence", 5, 12, hosting, dies="two")


async def test_requests_that_break_rules_are_refused(stub: Any) -> None:
    for request, says in (
        (wanted("a b", "ada"), "resource: does not match regex"),
        (wanted("gpu", ""), "holder: must be at least 1"),
        (wanted("gpu", "ada", float("nan")), "amount"),
        (wanted("gpu", "ada", 0), "amount: must be greater than 0"),
        (wanted("gpu", "ada", lasts_s=0), "duration"),
        (wanted("gpu", "ada", priority=10), "priority: must be less"),
        (wanted("gpu", "ada", after_s=400 * 86400), "start_time: it is at most 366 days ahead"),
    ):
        assert says in await refused(stub.Reserve(request, timeout=10), grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_full_book_is_refused(stub: Any) -> None:
    for number in range(20):
        await stub.Reserve(
            wanted("node", "n", after_s=1000 + 1000 * number, reservation_id=f"n{number}"), timeout=10
        )
    text = await refused(stub.Reserve(wanted("node", "n"), timeout=10), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert "node has 20 reservations already (WEFT_ARBITER_MAX_RESERVATIONS)" in text


async def test_grpcurl_and_operators_see_a_book(hosting: MeshHarness) -> None:
    find_grpcurl()
    request = json.dumps({"resource": "gpu", "amount": 1, "duration": "60s"})
    code, printed = await grpcurl(hosting.target, [f"{SERVICE}/ExplainConflict"], ["-d", request])
    assert code == 0, printed
    assert "reason" in json.loads(printed) or json.loads(printed)["fits"]
    async with connect(hosting.target) as mesh:
        found = await mesh.keyed_states.get("arbiter:node")
        assert len(arbiter_pb2.Book.FromString(found.value).reservations) == 20


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_node_calls_it_without_weft(hosting: MeshHarness) -> None:
    modules = Node().built / "examples" / "node" / "node_modules"
    places = [str(ROOT / each) for each in ("protos", "third_party/protovalidate", "third_party/googleapis")]
    words = [hosting.target, "weft/services/arbiter/v1/arbiter.proto", SERVICE, "ListReservations"]
    named = ["env", f"NODE_PATH={modules}", "node", str(ROOT / "tests" / "support" / "any_call.js"), *words]

    def call(request: str) -> Any:
        return json.loads(run([*named, request, *places], ROOT))

    assert call('{"resource": "node"}')["capacity"] == 1
    refused = call('{"resource": "no such name"}')
    assert refused["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "resource" in refused["details"]
