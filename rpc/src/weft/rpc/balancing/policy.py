"""What a policy is: a function that chooses one of several endpoints, and nothing else. Each is a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from weft.rpc.balancing.endpoint import EndpointMethod


class Moment(NamedTuple):
    """What a choice depends on beside the endpoints."""

    now: float
    # How many choices were made before, from a random start.
    turn: int
    # Uniform in [0, 1).
    sample: Callable[[], float]
    # How long a call of the method takes, on the whole.
    typical_s: float


# Chooses one of at least one.
Policy = Callable[[Sequence[EndpointMethod], Moment], EndpointMethod]
