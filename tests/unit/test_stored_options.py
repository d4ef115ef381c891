"""The text of stored options, and the constants that scripts get."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.store import rules, stored_options
from weft.coordinator.store.redis.lua_constants import with_constants
from weft.coordinator.store.rules import TaskRetryPolicy
from weft.coordinator.store.stored_options import LEFT_OUT, StoredOptions, decode, decode_earlier, encode

SECONDS = st.floats(0, 1e12)
OPTIONS = st.builds(
    StoredOptions,
    st.none() | SECONDS,
    SECONDS,
    SECONDS,
    SECONDS,
    st.builds(
        TaskRetryPolicy,
        st.integers(1, 1 << 31),
        SECONDS,
        SECONDS,
        st.floats(1, 100),
        st.frozensets(st.integers(1, 16)),
        st.integers(0, 1 << 31),
    ),
)


@given(OPTIONS)
def test_what_is_stored_is_what_is_read(options: StoredOptions) -> None:
    text = encode(options)
    assert decode(text) == options
    unset = options.start_to_close_s is None
    assert len(text.split()) == len(stored_options.FIELDS) - unset


def test_tasks_of_earlier_layouts_have_the_defaults_of_then() -> None:
    assert decode_earlier(None) == LEFT_OUT
    found = decode_earlier('{"result_ttl_s":5,"retry":[9,0.5,1,2,[3,4],1]}')
    policy = TaskRetryPolicy(9, 0.5, 1.0, 2.0, frozenset({3, 4}), 1)
    assert found == LEFT_OUT._replace(result_ttl_s=5.0, retry=policy)


def test_scripts_get_the_constants_of_the_rules() -> None:
    for state in rules.State:
        assert with_constants(f"return t.s == {state.name}").endswith(f"return t.s == {state.value}")
    assert with_constants("at + BACKSTOP_S").endswith(f"at + {rules.BACKSTOP_S!r}")
    codes = ", ".join(f"[{code}] = true" for code in sorted(rules.FINAL_CODES))
    assert f"local FINAL_CODES = {{{codes}}}" in with_constants("").splitlines()


def test_comments_and_strings_of_scripts_stay_as_they_are() -> None:
    text = "call('SET', 'OK')  -- QUEUED, isn't it?"
    assert with_constants(f"{text}\nreturn OK").endswith(f"{text}\nreturn 0")
