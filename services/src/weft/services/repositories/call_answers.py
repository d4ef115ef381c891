"""How a servicer's method answers with an error of repositories: by its status, with its reason."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from weft.rpc.errors import STATUS_DETAILS_KEY
from weft.services.repositories.problems import RepositoryError

Context = grpc.aio.ServicerContext[Any, Any]


@contextlib.asynccontextmanager
async def answering(context: Context) -> AsyncIterator[None]:
    """In a servicer's method: a `RepositoryError` becomes the call's status."""
    try:
        yield
    except RepositoryError as error:
        status = error.status().SerializeToString()
        await context.abort(error.code, error.message, trailing_metadata=((STATUS_DETAILS_KEY, status),))
