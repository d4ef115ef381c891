"""What a failure of Ollama's library means: its exceptions as `ModelError`s, without the texts of the server, which may have prompts in them."""

from __future__ import annotations

import httpx
import ollama

from weft.services.models import model_errors
from weft.services.models.model_errors import ModelError, of_status


def model_error(backend: str, error: Exception) -> ModelError:
    """The error that the caller gets."""
    match error:
        case ModelError():
            return error
        case ollama.ResponseError(status_code=status) if status >= 400:
            return of_status(backend, status, "")
        case ollama.ResponseError():
            # Told within a stream that had begun well.
            return model_errors.unavailable(backend, "it stopped with an error")
        case httpx.ConnectTimeout():
            return model_errors.unavailable(backend, "no connection in time")
        case httpx.ConnectError() | ConnectionError():
            return model_errors.unavailable(backend, "no connection")
        case httpx.HTTPError():
            return model_errors.unavailable(backend, "the connection broke")
        case _:
            return model_errors.garbage(backend, type(error).__name__)
