"""The chain of events: whatever is changed, cut out, moved or put in is found."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.coordinator.audit.audit_check import ChainCheck
from weft.coordinator.audit.audit_event import (
    MAX_DETAILS,
    AuditFact,
    Chain,
    Who,
    line_of,
    message_of,
    record_from,
    record_of,
)
from weft.v1 import audit_pb2

FACTS = st.builds(
    AuditFact,
    st.text(max_size=20),
    st.builds(Who, st.text(max_size=20), st.sampled_from(["", "client", "operator"]), st.text(max_size=8)),
    st.text(max_size=10),
    st.sampled_from(["OK", "NOT_FOUND"]),
    st.just(""),
    st.lists(st.tuples(st.text(max_size=200), st.text(max_size=200)), max_size=MAX_DETAILS + 2).map(tuple),
)


def lines_of(facts: list[AuditFact]) -> list[bytes]:
    chain = Chain("c 1")
    return [line_of(chain.add(fact, 1, 1e9 + number)) + b"\n" for number, fact in enumerate(facts)]


@settings(max_examples=50, deadline=None)
@given(st.lists(FACTS, min_size=1, max_size=5))
def test_whatever_is_recorded_is_whole_and_passes_as_a_message(facts: list[AuditFact]) -> None:
    lines = lines_of(facts)
    check = ChainCheck()
    assert not list(check.faults(lines))
    assert check.events == len(facts)
    for line in lines:
        record = record_of(line)
        sent = audit_pb2.AuditEvent.FromString(message_of(record).SerializeToString())
        assert line_of(record_from(sent)) + b"\n" == line


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_each_change_is_found(data: st.DataObject) -> None:
    lines = lines_of([AuditFact(f"a.S/M{number}", Who("token:shop")) for number in range(5)])
    at = data.draw(st.integers(0, len(lines) - 1))
    how = data.draw(st.sampled_from(["byte", "cut", "field", "moved", "removed", "again", "new"]))
    changed = list(lines)
    match how:
        case "byte":
            place = data.draw(st.integers(0, len(lines[at]) - 2))
            value = data.draw(st.integers(0, 255).filter(lambda each: each != lines[at][place]))
            changed[at] = lines[at][:place] + bytes([value]) + lines[at][place + 1 :]
        case "cut":
            changed[at] = lines[at][: data.draw(st.integers(1, len(lines[at]) - 3))] + b"\n"
        case "field":
            record = json.loads(lines[at])
            name = data.draw(st.sampled_from(sorted(record)))
            others = [None, [], {}, 7, "x", {"digest": 1}]
            record[name] = data.draw(st.sampled_from([each for each in others if each != record[name]]))
            changed[at] = line_of(record) + b"\n"
        case "moved":
            other = data.draw(st.integers(0, len(lines) - 1).filter(lambda each: each != at))
            changed[at], changed[other] = changed[other], changed[at]
        case "removed":
            # The first and the last ones leave no trace in the file itself.
            del changed[data.draw(st.integers(1, len(lines) - 2))]
        case "again":
            changed.insert(at, lines[at])
        case _:
            false = Chain("c 1", json.loads(lines[at])["previous"])
            changed[at] = line_of(false.add(AuditFact("a.S/False"), 1, 1e9)) + b"\n"
            if at == len(lines) - 1:
                # Whoever can write the file can write its last event anew: known digests tell.
                expected = json.loads(lines[at])["digest"]
                check = ChainCheck([expected])
                assert not list(check.faults(changed))
                assert check.missing == {expected}
                return
    assert list(ChainCheck().faults(changed)), how


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"{}", b"[" * 5000, b'{"digest":1e999}', b"NaN"])))
def test_any_bytes_are_checked_without_a_failure(lines: list[bytes]) -> None:
    assert len(list(ChainCheck().faults(lines))) >= len(lines)
