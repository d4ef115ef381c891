"""Round robin: each endpoint in turn. Load and weight do not count. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from weft.rpc.balancing.endpoint import EndpointMethod
from weft.rpc.balancing.policy import Moment


def choose(among: Sequence[EndpointMethod], moment: Moment) -> EndpointMethod:
    return among[moment.turn % len(among)]
