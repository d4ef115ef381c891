"""Round robin: each endpoint in turn, whatever its load or weight. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from weft.rpc.balancing.endpoint import Hosted
from weft.rpc.balancing.policy import Moment


def choose(among: Sequence[Hosted], moment: Moment) -> Hosted:
    return among[moment.turn % len(among)]
