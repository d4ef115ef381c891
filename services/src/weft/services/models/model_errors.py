"""The errors of the models service: a function a reason. No message has anything of a prompt, of an answer, or of a key."""

from __future__ import annotations

import enum
import math

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "models.weft.services"
# A backend may say any time: a longer one is cut.
_MAX_RETRY_AFTER_S = 3600.0


class Effect(enum.Enum):
    """What an error means for the rest."""

    # The request is at fault: another backend would say the same.
    FINAL = enum.auto()
    # This backend cannot answer this request: the next one may.
    NEXT = enum.auto()
    # The backend is ill: the next one may answer, and its breaker counts.
    ILL = enum.auto()


class ModelError(Exception):
    """A model cannot answer.

    Args:
        reason: of the contract's list.
        retry_after_s: when it may be different, in seconds; None: not known.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        effect: Effect,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.effect = effect
        if retry_after_s is not None:
            retry_after_s = (
                min(_MAX_RETRY_AFTER_S, max(0.0, retry_after_s)) if math.isfinite(retry_after_s) else None
            )
        self.retry_after_s = retry_after_s

    def status(self) -> status_pb2.Status:
        """The error as callers get it."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        status.details.append(_packed(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)))
        if self.retry_after_s is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromMicroseconds(round(self.retry_after_s * 1e6))
            status.details.append(_packed(info))
        return status


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def model_unknown(what: str) -> ModelError:
    return ModelError(grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", what, Effect.NEXT)


def context_too_long(what: str) -> ModelError:
    return ModelError(grpc.StatusCode.OUT_OF_RANGE, "CONTEXT_TOO_LONG", what, Effect.NEXT)


def wrong_request(what: str) -> ModelError:
    """The request itself is wrong: no backend is asked."""
    return ModelError(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_REFUSED", what, Effect.FINAL)


def refused(backend: str, why: str) -> ModelError:
    return ModelError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_REFUSED",
        f"{backend} does not take the request: {why}",
        Effect.NEXT,
    )


def denied(backend: str, why: str) -> ModelError:
    return ModelError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "BACKEND_DENIED",
        f"{backend} does not do this: {why}",
        Effect.NEXT,
    )


def overloaded(backend: str, why: str, retry_after_s: float | None) -> ModelError:
    return ModelError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "BACKEND_OVERLOADED", f"{backend} has too much to do: {why}",
        Effect.ILL, retry_after_s,
    )  # fmt: skip


def unavailable(backend: str, why: str) -> ModelError:
    return ModelError(
        grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", f"{backend} fails: {why}", Effect.ILL
    )


def silent(backend: str, seconds: float) -> ModelError:
    return ModelError(
        grpc.StatusCode.UNAVAILABLE,
        "BACKEND_SILENT",
        f"{backend} has said nothing for {seconds:g} s",
        Effect.ILL,
    )


def garbage(backend: str, why: str) -> ModelError:
    return ModelError(
        grpc.StatusCode.INTERNAL,
        "BACKEND_GARBAGE",
        f"{backend} answers what cannot be read: {why}",
        Effect.ILL,
    )


def failed(kind: str) -> ModelError:
    """A fault of this service."""
    return ModelError(
        grpc.StatusCode.INTERNAL,
        "SERVICE_FAILED",
        f"the service failed ({kind}); its agent's log has the place",
        Effect.FINAL,
    )


def open_breaker(backend: str, wait_s: float) -> ModelError:
    return ModelError(
        grpc.StatusCode.UNAVAILABLE,
        "BACKEND_OPEN",
        f"{backend} has failed, and is not asked for {wait_s:.3g} s",
        Effect.NEXT,
        wait_s,
    )


def of_status(backend: str, status: int, words: str, retry_after_s: float | None = None) -> ModelError:
    """What a status of HTTP means."""
    why = f"status {status}{words}"
    if status in {401, 403}:
        return denied(backend, f"{why}; see the key that the agent has for it (WEFT_MODELS_KEYS_FILE)")
    if status == 404:
        return model_unknown(f"{backend} has no such model: {why}")
    if status in {429, 503}:
        return overloaded(backend, why, retry_after_s)
    if (status >= 500 and status != 501) or status == 408:
        return unavailable(backend, why)
    if status in {405, 501}:
        return denied(backend, why)
    return refused(backend, why)
