"""A unix path that is too long is refused by name and length, wherever one is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from weft.agent import Agent
from weft.agent.sidecar import sidecar_settings
from weft.client import connect
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.network import unix_path

DOORS: dict[str, Callable[[str], Any]] = {
    "client": connect,
    "agent's target": lambda address: Agent(target=address),
    "agent's server": lambda address: Agent(listen=address),
    "agent's advertised address": lambda address: Agent(advertised_address=address),
    "app": lambda address: sidecar_settings(app=address),
    "egress": lambda address: sidecar_settings(app="127.0.0.1:1", egress=address),
    "coordinator": lambda address: CoordinatorSettings(listen=address),
    "redis": lambda address: CoordinatorSettings(store=address.replace("unix:", "unix://")),
}


@pytest.mark.parametrize("door", DOORS)
def test_one_byte_too_many(door: str) -> None:
    fits = "/" + "s" * 106
    DOORS[door](f"unix:{fits}")
    for path, length in ((fits + "s", 108), ("/" + "ä" * 60, 121)):
        with pytest.raises(Exception, match=f"at most 107 bytes, and {path} has {length}"):
            DOORS[door](f"unix:{path}")


@pytest.mark.parametrize("address", ["unix:///" + "s" * 106, "unix-abstract:" + "s" * 107, "h:1", "h" * 200])
def test_what_fits(address: str) -> None:
    unix_path.check(address)
