"""Each rule of balancing by tables: time and randomness are arguments, and nothing is connected."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from tests.support.hosts import METHOD, agent
from weft.rpc import errors
from weft.rpc.balancing import (
    fleet_snapshot,
    least_connections,
    reported_load,
    retry,
    round_robin,
    slow_start,
    weighted,
)
from weft.rpc.balancing.availability import EndpointStanding, available
from weft.rpc.balancing.connection import Connection
from weft.rpc.balancing.endpoint import Endpoint, EndpointMethod
from weft.rpc.balancing.outliers import (
    OutlierRules,
    Record,
    eject,
    ejected_until,
    failed,
    may_eject,
    readmit,
    succeeded,
    sweep,
)
from weft.rpc.balancing.policy import Moment, Policy
from weft.rpc.balancing.retry_budget import RetryBudget
from weft.rpc.balancing.speed import Pace
from weft.rpc.balancing.subset import subset
from weft.rpc.calls.metadata import RETRY_MARK
from weft.v1 import agent_pb2, errors_pb2, fleet_pb2


def hosted(
    name: str = "a", *, in_flight: int = 0, others: float = 0.0, new: bool = False, **fields: Any
) -> EndpointMethod:
    endpoint = Endpoint(agent(name, **fields), Connection("127.0.0.1:1"), 0.0, 10.0 if new else 0.0)
    endpoint.in_flight, endpoint.others = in_flight, others
    return endpoint.hosted[METHOD]


def moment(now: float = 0.0, turn: int = 0, draws: Sequence[float] = (), typical_s: float = 0.0) -> Moment:
    left = iter(draws)
    return Moment(now, turn, lambda: next(left), typical_s)


def chosen(policy: Policy, among: Sequence[EndpointMethod], at: Moment) -> str:
    return policy(among, at).endpoint.agent_id


# -- policies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("among", "at", "wanted"),
    [
        ([hosted("a", in_flight=1), hosted("b")], moment(), "b"),
        ([hosted("a"), hosted("b", others=3)], moment(turn=1), "a"),
        # A report of five seconds ago says nothing any more.
        ([hosted("a", in_flight=1), hosted("b", others=3)], moment(now=5.0), "b"),
        # (3 + 1) / 4 is less than (1 + 1) / 1.
        ([hosted("a", in_flight=3, slots=4), hosted("b", in_flight=1)], moment(turn=1), "a"),
        # A new one has a tenth of its weight at first, half of it at half time.
        ([hosted("a", in_flight=8), hosted("b", new=True)], moment(), "a"),
        ([hosted("a", in_flight=2), hosted("b", new=True)], moment(now=5.0), "b"),
        ([hosted("a", in_flight=1), hosted("b", new=True)], moment(now=10.0), "b"),
        # Equals take turns.
        ([hosted("a"), hosted("b"), hosted("c")], moment(turn=0), "a"),
        ([hosted("a"), hosted("b"), hosted("c")], moment(turn=4), "b"),
    ],
)
def test_the_least_loaded_of_few_is_chosen(among: list[EndpointMethod], at: Moment, wanted: str) -> None:
    assert chosen(least_connections.choose, among, at) == wanted


def test_of_more_than_eight_two_are_drawn_and_the_better_is_taken() -> None:
    among = [hosted(str(n), in_flight=n) for n in range(10)]
    assert chosen(least_connections.choose, among, moment(draws=[0.95, 0.3])) == "2"
    # The second draw never repeats the first one.
    assert chosen(least_connections.choose, among, moment(draws=[0.5, 0.6])) == "5"
    assert chosen(least_connections.choose, among, moment(draws=[0.0, 0.0])) == "0"


def test_a_method_that_takes_several_slots_weighs_as_much() -> None:
    costly = fleet_pb2.HostedMethod(name=METHOD, slot_cost=4)
    assert hosted("a", methods=[costly], slots=8).score(0.0, 0.0) == 0.5


def test_round_robin_takes_turns_whatever_the_load() -> None:
    among = [hosted("a", in_flight=9), hosted("b"), hosted("c")]
    assert [chosen(round_robin.choose, among, moment(turn=n)) for n in range(4)] == ["a", "b", "c", "a"]


def test_weighted_follows_capacity() -> None:
    among = [hosted("a", slots=1), hosted("b", slots=3)]
    draw = random.Random(1).random
    picks = Counter(chosen(weighted.choose, among, Moment(0.0, 0, draw, 0.0)) for _ in range(4000))
    assert 2.7 < picks["b"] / picks["a"] < 3.3


# -- factors of a weight ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_s", "aggression", "wanted"),
    [(10.0, 1.0, 0.1), (9.5, 1.0, 0.1), (5.0, 1.0, 0.5), (7.5, 2.0, 0.5), (0.0, 1.0, 1.0), (-3.0, 1.0, 1.0)],
)
def test_slow_start_grows_to_the_whole_weight(left_s: float, aggression: float, wanted: float) -> None:
    assert slow_start.factor(left_s, window_s=10.0, aggression=aggression) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("seconds", "typical_s", "age_s", "wanted"),
    [
        (0.010, 0.010, 0.0, 1.0),
        # Twice as long is noise.
        (0.020, 0.010, 0.0, 1.0),
        (0.040, 0.010, 0.0, 0.25),
        (9.000, 0.010, 0.0, 0.05),
        # Not measured for long: tried again.
        (0.040, 0.010, 10.0, 1.0),
        # Nothing to compare with.
        (0.040, 0.0, 0.0, 1.0),
    ],
)
def test_slow_ones_lose_weight(seconds: float, typical_s: float, age_s: float, wanted: float) -> None:
    pace = Pace()
    pace.measured(seconds, 100.0, 0.0)
    assert pace.factor(100.0 + age_s, typical_s) == pytest.approx(wanted)


def test_one_long_call_does_not_make_an_endpoint_slow() -> None:
    pace = Pace()
    pace.measured(0.030, 0.0, typical_s=0.010)
    assert pace.factor(0.0, 0.010) == 1.0


def test_own_calls_are_not_counted_twice() -> None:
    endpoint = hosted("a", in_flight=3).endpoint
    endpoint.reported(5.0, 0.0)
    assert endpoint.load(0.0) == 5.0
    endpoint.in_flight -= 1
    assert endpoint.load(0.0) == 4.0
    # Those that have not arrived there yet do not count as fewer than none.
    endpoint.reported(1.0, 0.0)
    assert endpoint.load(0.0) == 2.0


def test_a_snapshot_tells_of_load_only_where_no_trailer_did_lately() -> None:
    endpoint = hosted("a", in_flight=1).endpoint
    endpoint.reported(4.0, 10.0)
    endpoint.apply(agent("a", used_slots=9), 10.5)
    assert endpoint.others == 3.0
    endpoint.apply(agent("a", used_slots=9), 11.5)
    assert endpoint.others == 8.0


@pytest.mark.parametrize(
    ("report", "wanted"),
    [
        (agent_pb2.OrcaLoadReport(named_metrics={"used_slots": 3, "slots": 8}).SerializeToString(), 3.0),
        (agent_pb2.OrcaLoadReport(named_metrics={"queue": 3}).SerializeToString(), None),
        (b"\xff\xff", None),
    ],
    # Bytes of a map are in no fixed order, and make no names.
    ids=["slots", "other", "rubbish"],
)
def test_load_is_read_from_the_trailer(report: bytes, wanted: float | None) -> None:
    assert reported_load.used_slots(report) == wanted


# -- who may be chosen --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, True),
        ({"direct_state": fleet_pb2.DIRECT_STATE_REACHABLE}, True),
        ({"direct_state": fleet_pb2.DIRECT_STATE_UNREACHABLE}, False),
        ({"advertised_address": ""}, False),
        ({"state": fleet_pb2.AGENT_STATE_DRAINING}, False),
        ({"state": fleet_pb2.AGENT_STATE_PAUSED}, False),
        ({"state": fleet_pb2.AGENT_STATE_SUSPECT}, False),
    ],
)
def test_an_agent_takes_calls_when_it_is_active_and_reachable(fields: dict[str, Any], wanted: bool) -> None:
    assert fleet_snapshot.takes_calls(agent(**fields)) is wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, False),
        ({"state": fleet_pb2.AGENT_STATE_SUSPECT}, True),
        ({"state": fleet_pb2.AGENT_STATE_SUSPECT, "advertised_address": ""}, False),
        ({"state": fleet_pb2.AGENT_STATE_LOST}, False),
    ],
)
def test_an_agent_may_take_calls_when_its_session_broke(fields: dict[str, Any], wanted: bool) -> None:
    assert fleet_snapshot.may_take_calls(agent(**fields)) is wanted


def test_a_method_whose_app_is_down_is_not_hosted() -> None:
    down = fleet_pb2.HostedMethod(name="acme.v1.Other/Do", unavailable=True)
    assert fleet_snapshot.hosted_methods(agent(methods=[fleet_pb2.HostedMethod(name=METHOD), down])) == {
        METHOD: 1
    }


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ""),
        ({"methods": [], "advertised_address": ""}, ""),
        ({"advertised_address": ""}, "takes no direct calls"),
        ({"state": fleet_pb2.AGENT_STATE_DRAINING}, "is DRAINING"),
        (
            {"direct_state": fleet_pb2.DIRECT_STATE_UNREACHABLE, "direct_problem": "no answer from a:1"},
            "cannot be reached: no answer from a:1",
        ),
        (
            {"methods": [fleet_pb2.HostedMethod(name=METHOD, unavailable=True)]},
            "takes no calls of it now",
        ),
    ],
)
def test_why_an_agent_takes_no_direct_calls(fields: dict[str, Any], wanted: str) -> None:
    assert fleet_snapshot.why_not(agent(**fields), METHOD) == wanted


OK, AWAY, REFUSED = EndpointStanding(True), EndpointStanding(False), EndpointStanding(False, refused=True)
OUT = EndpointStanding(True, ejected=True)


@pytest.mark.parametrize(
    ("standings", "indices", "panic"),
    [
        ([OK, OK, OK], [0, 1, 2], False),
        ([OK, REFUSED, OK], [0, 2], False),
        ([OK, OK, OUT], [0, 1], False),
        # Half is enough; less is a panic, in which the ejected count, and the unconnected still do not.
        ([OK, OUT], [0], False),
        ([OK, OUT, OUT], [0, 1, 2], True),
        ([OK, OUT, REFUSED, REFUSED], [0, 1], True),
        ([OUT], [0], True),
        # Few are connected, but none is ejected: there is nothing to panic about.
        ([OK, REFUSED, REFUSED], [0], False),
        # None is connected: those that may be, then any.
        ([AWAY, REFUSED], [0], False),
        ([REFUSED, REFUSED], [0, 1], False),
        ([], [], False),
    ],
)
def test_available(standings: list[EndpointStanding], indices: list[int], panic: bool) -> None:
    found = available(standings)
    assert (found.indices, found.panic) == (indices, panic)


def test_a_subset_stays_when_endpoints_come_and_go() -> None:
    addresses = [f"10.0.0.{n}:7701" for n in range(200)]
    one = subset(addresses, str, seed=1, size=20)
    assert one == subset(list(reversed(addresses)), str, seed=1, size=20)
    assert len(one) == 20
    # Other clients have other parts.
    assert len(set(one) & set(subset(addresses, str, seed=2, size=20))) < 10
    # One that leaves makes room for one; one that comes takes at most one place.
    without = subset([a for a in addresses if a != one[0]], str, seed=1, size=20)
    assert len(set(one) - set(without)) == 1
    more = subset([*addresses, "10.0.1.1:7701"], str, seed=1, size=20)
    assert len(set(one) - set(more)) <= 1
    # A small fleet is used whole.
    assert subset(addresses[:20], str, seed=1, size=20) == addresses[:20]


# -- outliers -----------------------------------------------------------------------------------------------------

RULES = OutlierRules()


def records(*counts: tuple[int, int]) -> list[Record]:
    made = []
    for successes, failures in counts:
        record = Record()
        record.successes, record.failures = successes, failures
        made.append(record)
    return made


@pytest.mark.parametrize(
    ("counts", "ejected"),
    [
        # Below mean - 1.9 standard deviations, with five hosts and a hundred calls each.
        ([(100, 0)] * 5 + [(50, 50)], [5]),
        ([(100, 0)] * 3 + [(50, 50)], []),
        ([(90, 0)] * 5 + [(45, 45)], []),
        # All alike fail alike: that is not theirs.
        ([(50, 50)] * 6, []),
        # By percentage alone: fifty calls are enough.
        ([(50, 0)] * 4 + [(7, 43)], [4]),
        ([(50, 0)] * 4 + [(8, 42)], []),
        # No more than one in ten, but always one.
        ([(50, 0)] * 3 + [(0, 50)] * 2, [3]),
        ([(50, 0)] * 16 + [(0, 50)] * 4, [16, 17]),
    ],
)
def test_outliers_are_ejected(counts: list[tuple[int, int]], ejected: list[int]) -> None:
    made = records(*counts)
    assert sweep(made, RULES, 0.0, lambda: 0.0) == len(ejected)
    assert [place for place, record in enumerate(made) if record.ejected] == ejected
    assert all(record.calls == 0 for record in made)


def test_enforcement_is_by_chance() -> None:
    rules = OutlierRules(failure_enforcement_percent=50.0)
    assert sweep(records(*[(50, 0)] * 4, (0, 50)), rules, 0.0, lambda: 0.6) == 0
    assert sweep(records(*[(50, 0)] * 4, (0, 50)), rules, 0.0, lambda: 0.4) == 1


def test_each_ejection_lasts_longer_and_good_times_shorten_the_next() -> None:
    made = records(*[(50, 0)] * 4, (0, 50))
    bad = made[4]
    assert sweep(made, RULES, 0.0, lambda: 0.0) == 1
    sweep(made, RULES, 30.0, lambda: 0.0)
    assert bad.ejected
    sweep(made, RULES, 30.1, lambda: 0.0)
    assert not bad.ejected
    # Again, at once: twice the time.
    for record in made:
        record.successes, record.failures = (0, 50) if record is bad else (50, 0)
    sweep(made, RULES, 40.0, lambda: 0.0)
    assert bad.ejected
    sweep(made, RULES, 99.0, lambda: 0.0)
    assert bad.ejected
    sweep(made, RULES, 101.0, lambda: 0.0)
    assert not bad.ejected
    for _ in range(2):
        sweep(made, RULES, 120.0, lambda: 0.0)
    assert bad.multiplier == 0


def test_an_ejection_has_a_longest_time() -> None:
    bad = Record()
    bad.ejected_at, bad.multiplier = 0.0, 100
    sweep([bad], RULES, 300.0, lambda: 0.0)
    assert bad.ejected
    sweep([bad], RULES, 300.1, lambda: 0.0)
    assert not bad.ejected


# -- retries ------------------------------------------------------------------------------------------------------


def test_the_budget_stops_retries_until_enough_has_succeeded() -> None:
    budget = RetryBudget()
    for _ in range(4):
        budget.failed()
    assert budget.allows
    budget.failed()
    assert not budget.allows
    budget.succeeded()
    assert budget.allows
    for _ in range(1000):
        budget.failed()
    for _ in range(50):
        budget.succeeded()
    assert not budget.allows
    budget.succeeded()
    assert budget.allows


UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED


def said(reason: int, domain: str = errors.DOMAIN, **metadata: str) -> tuple[tuple[str, bytes], ...]:
    error = errors.Unavailable("no", reason=reason, metadata=metadata)
    status = error.status().SerializeToString().replace(b"weft", domain.encode())
    return ((errors.STATUS_DETAILS_KEY, status),)


@pytest.mark.parametrize(
    ("code", "details", "trailers", "marked", "wanted"),
    [
        # It was never sent.
        (UNAVAILABLE, "failed to connect to all addresses; last error: ...", (), False, True),
        (UNAVAILABLE, "GOAWAY received; Error code: 0; Debug Text: stop", (), False, True),
        # A handler says what it heard itself: it has run.
        (UNAVAILABLE, "failed to connect to all addresses", (("weft-agent", "a"),), False, False),
        # Lost on the way: who knows.
        (UNAVAILABLE, "Stream removed (Socket closed)", (), False, False),
        (UNAVAILABLE, "Stream removed (Socket closed)", (), True, True),
        (UNAVAILABLE, "busy", (("weft-agent", "a"),), True, True),
        # The mark is for UNAVAILABLE alone.
        (grpc.StatusCode.INTERNAL, "", (), True, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", (), True, False),
        # The agent refused it.
        (UNAVAILABLE, "", said(errors_pb2.ERROR_REASON_STOPPING), False, True),
        (EXHAUSTED, "", said(errors_pb2.ERROR_REASON_OVERLOADED), False, True),
        (EXHAUSTED, "", said(errors_pb2.ERROR_REASON_OVERLOADED, agent="a"), False, True),
        # Another agent refused a call of the handler.
        (EXHAUSTED, "", said(errors_pb2.ERROR_REASON_OVERLOADED, agent="b"), False, False),
        (EXHAUSTED, "", said(errors_pb2.ERROR_REASON_OVERLOADED, domain="acme"), False, False),
        (EXHAUSTED, "", said(errors_pb2.ERROR_REASON_PAYLOAD_TOO_LARGE), False, False),
        (EXHAUSTED, "quota", (), False, False),
        (UNAVAILABLE, "", said(errors_pb2.ERROR_REASON_ISOLATED_PROCESS_DIED), False, False),
        (UNAVAILABLE, "", ((errors.STATUS_DETAILS_KEY, b"\xff"),), False, False),
    ],
)
def test_what_may_be_tried_elsewhere(
    code: grpc.StatusCode, details: str, trailers: Any, marked: bool, wanted: bool
) -> None:
    metadata = [("k", "v"), RETRY_MARK] if marked else [("k", "v")]
    assert retry.elsewhere(code, details, trailers, "a", lambda: retry.is_marked(metadata)) is wanted


@pytest.mark.parametrize(
    ("code", "trailers", "wanted"),
    [
        (UNAVAILABLE, said(errors_pb2.ERROR_REASON_STOPPING), True),
        (UNAVAILABLE, said(errors_pb2.ERROR_REASON_APP_UNAVAILABLE), True),
        (grpc.StatusCode.UNIMPLEMENTED, said(errors_pb2.ERROR_REASON_METHOD_NOT_HOSTED), True),
        # It has room again in a moment.
        (EXHAUSTED, said(errors_pb2.ERROR_REASON_OVERLOADED), False),
        (UNAVAILABLE, said(errors_pb2.ERROR_REASON_STOPPING, agent="b"), False),
        (UNAVAILABLE, (), False),
        (grpc.StatusCode.OK, (), False),
    ],
)
def test_who_refuses_the_next_call_too(code: grpc.StatusCode, trailers: Any, wanted: bool) -> None:
    assert retry.turned_away(code, trailers, "a") is wanted


def test_a_series_of_failures_ejects_at_once() -> None:
    new, proven = Record(), Record()
    succeeded(proven, 1000)
    assert [failed(new, RULES) for _ in range(3)] == [False, False, True]
    assert [failed(proven, RULES) for _ in range(5)] == [False] * 4 + [True]
    eject(new, 0.0)
    assert not failed(new, RULES), "it is ejected already"
    assert not may_eject([new, proven], RULES)
    assert may_eject([proven], RULES)
    assert not readmit(new, RULES, 30.0)
    assert readmit(new, RULES, 30.1)
    assert failed(new, RULES), "on trial one failure is enough"
    eject(new, 40.0)
    assert ejected_until(new, RULES) == 100.0
    assert readmit(new, RULES, 101.0)
    assert [succeeded(new), succeeded(new)] == [True, False], "one success ends the trial"
    assert not failed(new, RULES)
