"""The form of tickets: what is signed is read back, and nothing else is taken, whatever comes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.rpc.security import tickets
from weft.v1 import access_pb2, security_pb2

KEY = b"k" * 32
PROCESS = security_pb2.AgentProcess(agent_id="a1", instance_id="i1")


def ticket() -> security_pb2.Ticket:
    caller = security_pb2.CheckTokenResponse(id="x" * 12, role=access_pb2.ROLE_CLIENT)
    caller.scope.methods.append("acme.*")
    return security_pb2.Ticket(agent=PROCESS, namespace="team", caller=caller)


@given(
    st.one_of(
        st.text(), st.text().map(tickets.PREFIX.__add__), st.binary().map(lambda raw: raw.decode("latin-1"))
    )
)
def test_any_text_is_refused(text: str) -> None:
    for read in tickets.claims_of, lambda each: tickets.verified(each, KEY):
        with pytest.raises(tickets.BadTicket) as refused:
            read(text)
        assert len(text) < 4 or text not in str(refused.value)


@given(st.data())
def test_a_changed_ticket_is_refused(data: st.DataObject) -> None:
    text = tickets.signed(ticket(), KEY)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii"))
    changed = text[:at] + other + text[at + 1 :]
    with contextlib.suppress(tickets.BadTicket):
        # Spare bits of the last character of each part may differ.
        assert tickets.verified(changed, KEY) == ticket()


def test_keys_are_of_one_process_in_one_namespace() -> None:
    assert tickets.verified(tickets.signed(ticket(), KEY), KEY) == ticket()
    parts = [
        ("", "a", "b"),
        ("a", "", "b"),
        ("", "ab", ""),
        ("", "", "ab"),
        ("ab", "", ""),
        ("", "a", "bc"),
        ("", "ab", "c"),
    ]
    keys = {
        tickets.key_of(b"s", namespace, security_pb2.AgentProcess(agent_id=agent, instance_id=instance))
        for namespace, agent, instance in parts
    }
    assert len(keys) == len(parts)
    with pytest.raises(tickets.BadTicket):
        tickets.verified(tickets.signed(ticket(), KEY), b"l" * 32)
    with pytest.raises(tickets.BadTicket):
        tickets.claims_of(tickets.PREFIX + "A" * tickets.MAX_CHARS + ".A")
