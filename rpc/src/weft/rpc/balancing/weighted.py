"""Weighted: samples an endpoint in proportion to its slots, and less while it is new. Load does not count. Pure."""

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
    # Reached only by a rounding error.
    return among[-1]
