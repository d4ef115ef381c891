"""What a failure of OpenAI's library means: its exceptions as `ModelError`s, without the texts of the server, which may have prompts and keys in them."""

from __future__ import annotations

import re

import httpx2
import openai

from weft.services.models import model_errors
from weft.services.models.backends.retry_after import retry_after_s
from weft.services.models.model_errors import ModelError

# What may be told of a server's answer: a word such as "context_length_exceeded".
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}


def model_error(backend: str, error: Exception) -> ModelError:
    """The error that the caller gets."""
    match error:
        case ModelError():
            return error
        case openai.APITimeoutError():
            return model_errors.unavailable(backend, "no connection in time")
        case openai.APIResponseValidationError():
            return model_errors.garbage(backend, "not as OpenAI's API has it")
        case openai.APIConnectionError():
            return model_errors.unavailable(backend, "no connection")
        case openai.APIStatusError():
            return _of_status(backend, error)
        case openai.APIError():
            # Told within a stream that had begun well.
            return _too_long(backend, error) or model_errors.unavailable(
                backend, f"it stopped with an error{_words(error)}"
            )
        case httpx2.HTTPError():
            return model_errors.unavailable(backend, "the connection broke")
        case _:
            return model_errors.garbage(backend, type(error).__name__)


def _of_status(backend: str, error: openai.APIStatusError) -> ModelError:
    return _too_long(backend, error) or model_errors.of_status(
        backend, error.status_code, _words(error), retry_after_s(error.response.headers)
    )


def _too_long(backend: str, error: openai.APIError) -> ModelError | None:
    if {error.code, error.type} & _TOO_LONG:
        return model_errors.context_too_long(
            f"the conversation does not fit into the window of the model at {backend}"
        )
    return None


def _words(error: openai.APIError) -> str:
    found = [
        word
        for word in (error.code, error.type)
        if isinstance(word, str) and _WORD.fullmatch(word) and not word.isdigit()
    ]
    return f" ({found[0]})" if found else ""
