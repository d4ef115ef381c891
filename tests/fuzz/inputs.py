"""Inputs for a target: its seeds, changed at a few places, and other bytes."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.target import Target

_Edit = tuple[int, int, bytes]
# Bytes that parsers have trouble with.
_CHOICE = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xff",
        b"\x80",
        b"\x7f",
        b"[",
        b"{",
        b'"',
        b"'",
        b"(",
        b",",
        b"=",
        b"/",
        b".",
        b"\n",
        b"-",
        b"9" * 20,
    ]
)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Any bytes, mostly near a seed."""
    seeds = [seed[: target.max_bytes] for seed in target.seeds()]
    edit = st.tuples(st.integers(0, 1 << 16), st.integers(0, 8), st.one_of(_CHOICE, st.binary(max_size=4)))
    near = st.builds(_edited, st.sampled_from(seeds), st.lists(edit, min_size=1, max_size=4))
    return st.one_of(near, near, near, st.binary(max_size=64))


def _edited(seed: bytes, edits: list[_Edit]) -> bytes:
    data = bytearray(seed)
    for at, cut, put in edits:
        at %= len(data) + 1
        # As many bytes as are put in, or fewer or more.
        data[at : at + (cut if cut != 8 else len(put))] = put
    return bytes(data)
