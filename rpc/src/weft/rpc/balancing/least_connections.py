"""Least outstanding: the endpoint with the least load for its weight. Pure.

Up to eight endpoints are all looked at. Of more, two are drawn and the better one is taken: nearly as good, at the same
cost for any number, and clients that know the same do not all run to the same endpoint.
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
        # From another one each time: equals take turns.
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
