"""Agents in the form in which discovery describes them."""

from __future__ import annotations

from typing import Any

from weft.v1 import fleet_pb2

METHOD = "acme.v1.Analyst/Analyze"


def agent(name: str = "a", **fields: Any) -> fleet_pb2.Agent:
    known: dict[str, Any] = {
        "id": name,
        "state": fleet_pb2.AGENT_STATE_ACTIVE,
        "advertised_address": f"{name}:1",
        "slots": 1,
        "methods": [fleet_pb2.HostedMethod(name=METHOD)],
    }
    return fleet_pb2.Agent(**(known | fields))
