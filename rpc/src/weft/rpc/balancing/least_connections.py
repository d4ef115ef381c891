"""Least outstanding: the endpoint with the least load for its weight. Pure.

Of up to eight endpoints, all are compared. Of more, two are sampled and the better one is chosen. That is nearly as good,
costs the same for any number, and clients with the same knowledge do not all choose the same endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.rpc.balancing.endpoint import EndpointMethod
from weft.rpc.balancing.policy import Moment

SCANNED = 8


def choose(among: Sequence[EndpointMethod], moment: Moment) -> EndpointMethod:
    count = len(among)
    now, typical_s = moment.now, moment.typical_s
    if count <= SCANNED:
        # The first one changes each time, so that equal endpoints take turns.
        first = moment.turn % count
        best = among[first]
        least = best.score(now, typical_s)
        for hosted in (*among[first + 1 :], *among[:first]):
            score = hosted.score(now, typical_s)
            if score < least:
                best, least = hosted, score
        return best
    one = int(moment.sample() * count)
    other = int(moment.sample() * (count - 1))
    other += other >= one
    a, b = among[one], among[other]
    return a if a.score(now, typical_s) <= b.score(now, typical_s) else b
