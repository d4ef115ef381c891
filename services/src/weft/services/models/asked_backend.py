"""One question to a backend under its breaker: refused while that is open, and how it went is told to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from weft.services.models.breaker import Breaker
from weft.services.models.model_errors import Effect, ModelError, open_breaker


@contextmanager
def asked(backend: str, breaker: Breaker) -> Iterator[None]:
    """Ask the backend within it.

    Raises:
        ModelError: its breaker is open.
    """
    if wait_s := breaker.wait_s(time.monotonic()):
        raise open_breaker(backend, wait_s)
    try:
        yield
    except ModelError as error:
        if error.effect is Effect.ILL:
            breaker.failed(time.monotonic(), error.retry_after_s)
        else:
            # It has answered.
            breaker.succeeded()
        raise
    except BaseException:
        breaker.left()
        raise
    breaker.succeeded()
