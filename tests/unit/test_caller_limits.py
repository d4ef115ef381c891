"""Limits of callers: buckets and meters by a time that is passed in, where limits come from, and the door's bookkeeping."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer import BadParameter

from weft.cli.tokens import token_view
from weft.cli.tokens.tokens_command import _limits
from weft.coordinator.access.access_file import parse_policy
from weft.coordinator.access.limit_entries import limits_of, limits_of_namespace
from weft.coordinator.access.policy_entries import PolicyFault
from weft.coordinator.caller_limits.call_metering import KEPT, CallMetering
from weft.coordinator.caller_limits.open_metering import host_of
from weft.coordinator.caller_limits.rate_bucket import RateBucket
from weft.coordinator.caller_limits.use_meter import UseMeter
from weft.rpc.identity.caller import CLIENT, Caller, has_limits
from weft.rpc.identity.caller_limits import NO_LIMITS, CallerLimits, layered, limits_message, set_in
from weft.v1 import security_pb2

STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["one", "some", "many"]), st.integers(1, 50)), max_size=60
)


@given(st.floats(0.01, 1000), STEPS)
def test_a_bucket_never_gives_more_than_its_rate(rate: float, steps: list[tuple[float, str, int]]) -> None:
    bucket, now_s, taken = RateBucket(rate, 0.0), 0.0, 0.0
    for pause_s, how, count in steps:
        now_s += pause_s
        if how == "one":
            if not bucket.wait_s(1.0, now_s):
                bucket.take(1.0, now_s)
                taken += 1
        elif how == "some":
            taken += bucket.take_some(count, now_s)
        else:
            # What is waited for is there when the wait ends.
            now_s += bucket.wait_s(1.0, now_s)
            assert bucket.wait_s(1.0, now_s) == 0.0
            assert bucket.take_some(1, now_s) == 1
            taken += 1
        assert taken <= bucket.size + now_s * rate + 0.01


def test_an_overdrawn_bucket_must_fill_up_first() -> None:
    bucket = RateBucket(100.0, 0.0)
    bucket.take(300.0, 0.0)
    assert bucket.left(0.0) == -200.0
    assert bucket.wait_s(0.0, 0.0) == pytest.approx(2.0, abs=1e-3)
    assert bucket.wait_s(0.0, 2.1) == 0.0
    # A clock that was set back takes nothing.
    assert bucket.left(1.0) == bucket.left(2.1)
    assert bucket.left(1000.0) == bucket.size


def test_a_meter_names_the_limit_and_the_time() -> None:
    meter = UseMeter("token:a", CallerLimits(2.0, 3, 1, 1000.0), 0.0)
    for _ in range(2):
        assert meter.hit(0.0, stream=False) is None
        meter.begin(0.0, stream=False)
    hit = meter.hit(0.0, stream=False)
    assert hit is not None
    assert (hit.limit, hit.value, round(hit.wait_s, 3)) == ("calls_per_s", 2.0, 0.5)
    assert meter.hit(0.51, stream=False) is None
    meter.begin(0.51, stream=False)
    hit = meter.hit(5.0, stream=False)
    assert hit is not None
    assert (hit.limit, hit.value) == ("open_calls", 3)
    meter.end(stream=False)
    assert meter.hit(5.0, stream=False) is None
    # Streams are counted apart.
    meter.begin(5.0, stream=True)
    hit = meter.hit(10.0, stream=True)
    assert hit is not None
    assert hit.limit == "open_streams"
    assert meter.hit(10.0, stream=False) is None
    meter.take_bytes(3000, 10.0)
    hit = meter.hit(10.0, stream=False)
    assert hit is not None
    assert (hit.limit, round(hit.wait_s, 3)) == ("bytes_per_s", 2.0)


def test_a_stream_takes_what_there_is_room_for() -> None:
    meter, now_s, taken = UseMeter("token:a", CallerLimits(100.0), 0.0), 0.0, []
    left = 250
    while left := left - (taken.append(meter.take_calls(left, now_s)) or taken[-1]):
        now_s += meter.calls_wait_s(left, now_s)
    assert taken[0] == 100
    assert set(taken[1:]) <= {10, 11}
    assert now_s == pytest.approx(1.5, abs=0.05)
    assert UseMeter("x", CallerLimits(open_calls=1), 0.0).take_calls(7, 0.0) == 7


# -- where limits come from ---------------------------------------------------------------------------------------------

POLICY = """
[[limits]]
callers = ["token:batch", "jwt:corp:*", "spiffe://m/batch"]
calls_per_s = 1000
queued_tasks = 0

[[limits]]
callers = ["role:client"]
comment = "all others"
calls_per_s = 10
open_calls = 5

[[namespace_limits]]
namespaces = ["team-*"]
bytes_per_s = 1e6
"""


@pytest.mark.parametrize(
    ("subject", "own", "calls", "open_calls", "queued"),
    [
        ("token:batch", {}, 1000, 7, 0),
        ("jwt:corp:ann", {}, 1000, 7, 0),
        ("token:shop", {}, 10, 5, 70),
        # By its SPIFFE id alone, as in rules.
        ("certificate:spiffe://m/batch", {}, 1000, 7, 0),
        ("token:shop", {"calls_per_s": 0.0, "queued_tasks": 3.0}, 0, 5, 3),
    ],
)
def test_a_token_comes_before_the_policy_and_that_before_the_settings(
    subject: str, own: dict[str, float], calls: float, open_calls: float, queued: float
) -> None:
    policy = parse_policy(POLICY, Path("policy.toml"))
    found = limits_of(policy.limits, Caller(CLIENT, subject=subject))
    limits = layered(own, found, {"open_calls": 7.0, "queued_tasks": 70.0})
    assert (limits.calls_per_s, limits.open_calls, limits.queued_tasks) == (calls, open_calls, queued)
    assert limits_of_namespace(policy.namespace_limits, "team-a") == {"bytes_per_s": 1e6}
    assert not limits_of_namespace(policy.namespace_limits, "default")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[limits]]\ncallers = ['a']", "it sets no limit"),
        ("[[limits]]\ncalls_per_s = -1", "calls_per_s must be 0"),
        ("[[limits]]\ncalls_per_s = 'many'", "calls_per_s must be a number"),
        ("[[limits]]\nopen_calls = true", "open_calls must be a number"),
        ("[[limits]]\nopen_calls = 1.5", "open_calls must be a whole number"),
        ("[[limits]]\nbytes_per_s = inf", "bytes_per_s must be 0"),
        ("[[limits]]\ncalls_per_s = 1e-9", "at least 0.001"),
        ("[[limits]]\ncall_per_s = 1", "do you mean calls_per_s?"),
        ("[[namespace_limits]]\ncallers = ['x']\nopen_calls = 1", "unknown key 'callers'"),
    ],
)
def test_faults_of_limits_name_the_place(text: str, said: str) -> None:
    with pytest.raises(PolicyFault, match=r"policy\.toml:1: (namespace_)?limits, entry 1") as fault:
        parse_policy(text, Path("policy.toml"))
    assert said in str(fault.value)


def test_limits_survive_their_message() -> None:
    given = {"calls_per_s": 0.5, "open_calls": 0.0, "queued_tasks": 7.0}
    assert set_in(limits_message(given)) == given
    assert layered({}, {}) is NO_LIMITS
    names = [field.name for field in security_pb2.CallerLimits.DESCRIPTOR.fields]
    assert list(CallerLimits._fields) == names


def test_the_command_takes_limits_and_says_what_is_wrong() -> None:
    made = _limits(["calls-per-s=0.5", "queued_tasks=1e4", "open-calls=none"])
    assert set_in(made) == {"calls_per_s": 0.5, "queued_tasks": 10_000, "open_calls": 0}
    shown = token_view.row(security_pb2.Token(id="t", limits=made))
    assert "calls_per_s 0.5, open_calls none, queued_tasks 10000" in shown
    for text, said in (
        ("calls=5", "no limit 'calls'"),
        ("open-calls=many", "is not LIMIT=N"),
        ("open-calls", "is not LIMIT=N"),
        ("open-calls=-1", "open-calls must be 0"),
        ("bytes-per-s=nan", "bytes-per-s must be 0"),
    ):
        with pytest.raises(BadParameter, match=said):
            _limits([text])


# -- the door -----------------------------------------------------------------------------------------------------------

PATH = "/acme.v1.S/M"


def handler() -> Any:
    async def behaviour(request: bytes, _context: object) -> bytes:
        return request

    return grpc.unary_unary_rpc_method_handler(behaviour)


def test_callers_without_limits_have_the_very_handler() -> None:
    metering, made = CallMetering(lambda _: NO_LIMITS), handler()
    caller = Caller(CLIENT, subject="token:a", limits=CallerLimits(calls_per_s=1.0))
    assert metering.metered(made, PATH, Caller(CLIENT, subject="token:a")) is made
    assert metering.metered(made, PATH, caller) is not made
    # Agents' own work, and probes.
    for path in ("Connect", "Report"):
        assert metering.metered(made, f"/weft.v1.CoordinatorService/{path}", caller) is made
    assert metering.metered(made, "/weft.v1.TokenService/CheckToken", caller) is made
    assert metering.metered(made, "/grpc.health.v1.Health/Check", caller) is made
    assert has_limits("/weft.v1.CoordinatorService/SubmitTask")


def test_meters_are_bounded_and_shared() -> None:
    metering = CallMetering(lambda name: CallerLimits(open_calls=5) if name == "team-a" else NO_LIMITS)
    limits = CallerLimits(calls_per_s=1.0)
    (held,) = metering.meters(Caller(CLIENT, subject="token:0", limits=limits))
    for number in range(KEPT + 500):
        metering.meters(Caller(CLIENT, subject=f"token:{number}", limits=limits))
    gc.collect()
    assert len(metering._known) <= KEPT + 1
    # One in use is not forgotten.
    assert metering.meters(Caller(CLIENT, subject="token:0", limits=limits)) == (held,)
    both = metering.meters(Caller(CLIENT, subject="token:0", limits=limits, namespace="team-a"))
    assert [each.name for each in both] == ["token:0", "team-a"]


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.1:4711", "10.0.0.1"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("ipv6:[fe80::1]:4711", "fe80::1"),
        ("unix:", "local"),
        ("unix:/run/weft.sock", "local"),
    ],
)
def test_machines_are_told_apart_by_their_address(peer: str, host: str) -> None:
    assert host_of(peer) == host
