"""`weft-*` metadata of transparent calls."""

import pytest

from weft.coordinator.calls.call_options import asks_direct, check_direct, check_mode, from_metadata
from weft.rpc.calls import call_keys
from weft.rpc.errors import InvalidArgument


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weft-priority", "10"),
        ("weft-priority", "-1"),
        ("weft-priority", "high"),
        ("weft-delay", "-1"),
        ("weft-delay", "nan"),
        ("weft-delay", "1e300"),
        ("weft-delay", "soon"),
        ("weft-require", "zone"),
        ("weft-require", "gpu>=many"),
        ("weft-require", "a=b,,c=d"),
        ("weft-detach", "maybe"),
        ("weft-prioritee", "3"),
    ],
)
def test_bad_values_name_the_key(key, value):
    with pytest.raises(InvalidArgument) as caught:
        from_metadata([(key, value)])
    assert caught.value.field == key
    assert key in caught.value.message


def test_a_mode_is_one_of_two():
    assert asks_direct([("x", "direct"), ("weft-mode", "direct")])
    assert not asks_direct([("weft-mode", "durable"), ("x", "direct")])
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


@pytest.mark.parametrize(
    "key",
    ["weft-request-id", "weft-priority", "weft-delay", "weft-require", "weft-detach", "weft-prioritee"],
)
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


def test_an_inherited_id_ends_no_direct_call():
    call_keys.check_direct([("weft-root-id", "two words"), ("weft-parent-id", b"p")])
