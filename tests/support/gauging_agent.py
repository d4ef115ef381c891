"""The probe service, by an agent with a gauge of its own."""

from __future__ import annotations

from tests.support.probe import make_agent

agent = make_agent()
agent.gauge("queue_len", lambda: 3)
