"""Weighted: each endpoint by chance, in proportion to its capacity, whatever its load; less while it is new. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from weft.rpc.balancing.endpoint import EndpointMethod
from weft.rpc.balancing.policy import Moment


def choose(among: Sequence[EndpointMethod], moment: Moment) -> EndpointMethod:
    weights = [hosted.weight(moment.now) for hosted in among]
    left = moment.sample() * sum(weights)
    for hosted, weight in zip(among, weights, strict=True):
        left -= weight
        if left < 0.0:
            return hosted
    # Rounding.
    return among[-1]
