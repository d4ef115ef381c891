"""The type of a policy: a function that chooses one of several endpoints. Each policy has its own file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from weft.rpc.balancing.endpoint import EndpointMethod


class Moment(NamedTuple):
    """The inputs of a choice, besides the endpoints."""

    now: float
    # The number of choices before this one, plus a random start.
    turn: int
    # Samples a number, uniform in [0, 1).
    sample: Callable[[], float]
    # How long a call of the method takes, over all endpoints.
    typical_s: float


# The sequence has at least one endpoint.
Policy = Callable[[Sequence[EndpointMethod], Moment], EndpointMethod]
