"""`weft-*` metadata of transparent calls."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.client.options import call_options
from weft.coordinator.calls.call_options import check_direct, check_mode, from_metadata, mode
from weft.rpc.calls import call_keys
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.retry_policy import RetryPolicy


def test_all_options():
    call = from_metadata(
        [
            ("weft-request-id", "r1"),
            ("weft-priority", "9"),
            ("weft-delay", "1.5s"),
            ("weft-require", "zone=eu, gpu>=2"),
            ("weft-require", "tier=gold"),
            ("weft-detach", "True"),
            ("x-user", "u"),
            ("x-user", "v"),
            ("x-raw-bin", b"\x00\xff"),
            ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
            ("user-agent", "grpc-python"),
        ]
    )
    options = call.options
    assert (call.request_id, call.detach, options.priority) == ("r1", True, 9)
    assert options.delay.ToMilliseconds() == 1500
    assert dict(options.requirements.labels) == {"zone": "eu", "tier": "gold"}
    assert dict(options.requirements.resources) == {"gpu": 2.0}
    assert [(m.key, m.value) for m in options.context.metadata] == [
        ("x-user", b"u"),
        ("x-user", b"v"),
        ("x-raw-bin", b"\x00\xff"),
    ]
    assert options.context.traceparent.startswith("00-")


def test_nothing_asked():
    call = from_metadata([("user-agent", "x")])
    assert call.options.ByteSize() == 0
    assert not call.detach


def test_options_of_a_policy():
    call = from_metadata(
        [
            (
                "weft-retry",
                (
                    "max_attempts=5, codes=UNAVAILABLE|13|internal, initial_backoff=0.25s,max_backoff=30,"
                    "backoff_multiplier=1.5,max_crashes=0"
                ),
            ),
            ("weft-start-to-close", "1.5"),
            ("weft-schedule-to-start", "20s"),
            ("weft-result-ttl", "60s"),
            ("weft-fairness-key", "tenant 7"),
            ("weft-group", "nightly/1"),
            ("weft-step", "charge"),
            ("weft-step-anew", "true"),
            ("weft-no-wait", "True"),
            ("weft-cache", "OFF"),
            ("weft-lock", "db: a, b"),
            ("weft-shared-lock", "c"),
            ("weft-state-lock", "d"),
            ("weft-consume", "gpu=1, memory_bytes=4e9"),
            ("weft-budget", "tokens=1e4, active_s=1.5"),
        ]
    )
    retry = call.options.retry
    assert (retry.max_attempts, list(retry.retryable_codes)) == (5, [14, 13, 13])
    assert (retry.initial_backoff.ToMilliseconds(), retry.max_backoff.ToSeconds()) == (250, 30)
    assert retry.backoff_multiplier == 1.5
    assert retry.HasField("max_crashes")
    assert retry.max_crashes == 0
    assert call.options.limits.start_to_close.ToMilliseconds() == 1500
    assert call.options.limits.schedule_to_start.ToSeconds() == 20
    assert call.options.result_ttl.ToSeconds() == 60
    assert call.options.fairness_key == "tenant 7"
    assert call.options.no_wait
    assert call.options.no_cache
    assert not from_metadata([("weft-cache", "on")]).options.no_cache
    assert not from_metadata([("weft-no-wait", "0")]).options.no_wait
    assert [(lock.name, lock.shared, lock.state) for lock in call.options.locks] == [
        ("db: a, b", False, False),
        ("c", True, False),
        ("d", False, True),
    ]
    assert dict(call.options.consumes) == {"gpu": 1.0, "memory_bytes": 4e9}
    assert dict(call.options.budget) == {"tokens": 10_000.0, "active_s": 1.5}


@given(
    st.builds(
        RetryPolicy,
        max_attempts=st.none() | st.integers(1, 1000),
        initial_backoff_s=st.none() | st.integers(0, 86_400_000).map(lambda ms: ms / 1000),
        max_backoff_s=st.none() | st.integers(0, 86_400_000).map(lambda ms: ms / 1000),
        backoff_multiplier=st.none() | st.floats(1, 1000),
        retryable_codes=st.lists(st.sampled_from(list(grpc.StatusCode)[1:]), unique=True),
        max_crashes=st.none() | st.integers(0, 1000),
    )
)
def test_a_retry_policy_of_the_library_is_read_as_it_is(policy):
    made = call_options(retry=policy)
    assert from_metadata(made).options.retry == policy.to_proto()


def test_the_librarys_options_are_read():
    made = call_options(
        schedule_to_start_s=1.5,
        start_to_close_s=2,
        result_ttl_s=30,
        fairness_key="a b",
        budget={"tokens": 1e4, "x": 0.1},
    )
    options = from_metadata(made).options
    assert dict(options.budget) == {"tokens": 1e4, "x": 0.1}
    assert options.limits.schedule_to_start.ToMilliseconds() == 1500
    assert options.limits.start_to_close.ToSeconds() == 2
    assert options.result_ttl.ToSeconds() == 30
    assert options.fairness_key == "a b"


def test_the_mark_of_direct_calls_changes_nothing_for_a_task():
    assert from_metadata([("weft-retry", "unavailable")]).options.ByteSize() == 0


NO_SECONDS = ["", "-1", "nan", "inf", "1e300", "soon", "1m", "s", "1 s", "1,5", "0x1", "1" * 600, "\u0663"]
# Of each key values that it cannot have. Those of the keys for ids are tested below, and those of the mode.
BAD_VALUES = {
    "weft-request-id": ["", "two words", "caf\u00e9", "x" * 129],
    "weft-priority": ["10", "-1", "high", "", "1.0", "\u0663"],
    "weft-delay": [*NO_SECONDS, "31708800"],
    "weft-require": [
        "zone",
        "gpu>=many",
        "gpu>=nan",
        "gpu>=-1",
        "a=b,,c=d",
        "x" * 129 + "=1",
        "x=" + "y" * 257,
        ",".join(f"k{number}=1" for number in range(65)),
        "",
    ],
    "weft-detach": ["maybe", ""],
    "weft-no-wait": ["maybe", ""],
    "weft-cache": ["maybe", "", "false"],
    "weft-agent": ["", "x" * 129],
    "weft-session": ["", " a", "a ", "caf\u00e9", "x" * 257],
    "weft-session-mode": ["", "HARD", "firm"],
    "weft-session-ttl": [*NO_SECONDS, "9.9", "604801"],
    "weft-start-to-close": [*NO_SECONDS, "0", "0.0001"],
    "weft-schedule-to-start": [*NO_SECONDS, "0"],
    "weft-result-ttl": [*NO_SECONDS, "0", "0.5"],
    "weft-fairness-key": ["", "x" * 257],
    "weft-group": ["", "x" * 129, "a b", "\u00fc"],
    "weft-step": ["", "x" * 201, "a b", "\u00fc"],
    "weft-step-anew": ["", "maybe"],
    "weft-lock": ["", "x" * 129],
    "weft-shared-lock": ["", "x" * 129],
    "weft-state-lock": ["", "x" * 129],
    "weft-budget": [
        *("", "tokens", "tokens=", "=1", "tokens=many", "tokens=0", "tokens=-1", "tokens=nan", "tokens=inf"),
        *("tokens=1,", "a b=1", "x" * 65 + "=1", ",".join(f"k{number}=1" for number in range(17))),
    ],
    "weft-tree-budget-bin": [b"", b"\xff", b"\x0a\x01t\x12\x0a\x0a\x01u"],
    "weft-consume": [
        "",
        "gpu",
        "gpu=",
        "=1",
        "gpu=many",
        "gpu=0",
        "gpu=-1",
        "gpu=nan",
        "gpu=1,",
        "x" * 129 + "=1",
    ],
    "weft-retry": [
        "always",
        "",
        ",",
        "max_attempts",
        "max_attempts=",
        "max_attempts=0",
        "max_attempts=-1",
        "max_attempts=1001",
        "max_attempts=1.5",
        "max_attempts=2,max_attempts=3",
        "max_attempts=2,",
        "codes=",
        "codes=OK",
        "codes=0",
        "codes=17",
        "codes=SOMETIMES",
        "codes=UNAVAILABLE|",
        "initial_backoff=soon",
        "initial_backoff=-1s",
        "initial_backoff=1m",
        "max_backoff=86401s",
        "max_backoff=nan",
        "backoff_multiplier=0",
        "backoff_multiplier=0.5",
        "backoff_multiplier=2s",
        "backoff_multiplier=1001",
        "max_crashes=1001",
        "max_crashes=x",
        "attempts=3",
        "x" * 600,
    ],
}


def test_every_key_with_a_value_has_bad_ones():
    # The edge looks at the token and the namespace, in front of all calls.
    others = {"weft-mode", "weft-root-id", "weft-parent-id", "weft-token", "weft-namespace"}
    assert set(BAD_VALUES) == set(call_keys.KNOWN) - others


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in BAD_VALUES.items() for value in values] + [("weft-prioritee", "3")],
)
def test_bad_values_name_the_key(key, value):
    with pytest.raises(InvalidArgument) as caught:
        from_metadata([(key, value)])
    assert caught.value.field == key
    assert key in caught.value.message
    assert len(caught.value.message) < 1000


def test_a_mode_is_one_of_two():
    assert mode([("x", "direct"), ("weft-mode", "direct")]) == "direct"
    assert mode([("weft-mode", "durable"), ("x", "direct")]) == "durable"
    assert mode([("x", "direct")]) == ""
    assert from_metadata([("weft-mode", "durable")]).options.ByteSize() == 0
    check_mode([("weft-mode", "durable"), ("weft-nonsense", "1")])
    for check in (check_mode, check_direct, from_metadata):
        with pytest.raises(InvalidArgument) as caught:
            check([("weft-mode", "quick")])
        assert caught.value.field == "weft-mode"


def test_whose_call_it_is_a_part_of():
    context = from_metadata([("weft-root-id", "r"), ("weft-parent-id", "p")]).options.context
    assert (context.root_id, context.parent_id) == ("r", "p")
    check_direct([("weft-root-id", "r"), ("weft-parent-id", "p"), ("weft-mode", "direct"), ("x-own", "1")])


def test_a_call_may_be_marked_as_one_that_may_run_twice():
    for check in (check_direct, from_metadata):
        check([("weft-retry", "unavailable")])
        with pytest.raises(InvalidArgument) as caught:
            check([("weft-retry", "always")])
        assert caught.value.field == "weft-retry"


@pytest.mark.parametrize("value", ["", "two words", "x" * 129, "é"])
@pytest.mark.parametrize("key", ["weft-root-id", "weft-parent-id"])
def test_an_id_that_is_none(key, value):
    for check in (check_direct, from_metadata):
        with pytest.raises(InvalidArgument) as caught:
            check([(key, value)])
        assert caught.value.field == key


@pytest.mark.parametrize("key", [*call_keys.FOR_TASKS, "weft-prioritee"])
def test_what_only_a_task_can_have_is_refused_of_a_direct_call(key):
    said = set()
    # A coordinator and a direct channel.
    for check in (check_direct, call_keys.check_direct):
        with pytest.raises(InvalidArgument) as caught:
            check([("weft-mode", "direct"), (key, "1")])
        assert caught.value.field == key
        assert key in caught.value.message
        said.add(caught.value.message)
    assert len(said) == 1


def test_a_direct_call_is_not_durable():
    for check in (check_direct, call_keys.check_direct):
        with pytest.raises(InvalidArgument) as caught:
            check([("weft-mode", "durable")])
        assert caught.value.message.startswith("weft-mode: durable is for durable calls")
        assert caught.value.field == "weft-mode"


def test_a_retry_policy_is_for_tasks():
    for check in (check_direct, call_keys.check_direct):
        with pytest.raises(InvalidArgument, match="for a direct call it must be unavailable") as caught:
            check([("weft-retry", "max_attempts=5")])
        assert caught.value.field == "weft-retry"


def test_an_inherited_id_ends_no_direct_call():
    call_keys.check_direct([("weft-root-id", "two words"), ("weft-parent-id", b"p")])
