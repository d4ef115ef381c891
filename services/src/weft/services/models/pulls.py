"""The progress of a model that is fetched: backends tell it many times a second, and callers hear of it twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from weft.services.models.backends.backend import Backend, PullStep
from weft.services.models.model_errors import silent
from weft.services.models.v1 import models_pb2

TELL_EVERY_S = 0.5


async def pull_steps(
    backend: Backend, model: str, silence_s: float
) -> AsyncGenerator[models_pb2.PullModelResponse, None]:
    """Fetch a model. Each new status is told, and sizes now and then.

    Raises:
        ModelError: the backend fails, or tells nothing for too long.
    """
    told_at, told = -TELL_EVERY_S, ""
    async with aclosing(cast("AsyncGenerator[PullStep, None]", backend.pull(model))) as steps:
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    step = await anext(steps)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise silent(backend.name, silence_s) from None
            now = time.monotonic()
            if step.done or step.status != told or now - told_at >= TELL_EVERY_S:
                told_at, told = now, step.status
                yield models_pb2.PullModelResponse(
                    status=step.status,
                    completed_bytes=step.completed_bytes,
                    total_bytes=step.total_bytes,
                    done=step.done,
                )
