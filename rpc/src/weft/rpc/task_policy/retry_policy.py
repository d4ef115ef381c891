"""When a task is retried, as programs say it: for one task, or for all tasks of a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from weft.rpc import refusals, times
from weft.v1 import options_pb2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a task is retried: exponential backoff with full jitter. None: the coordinator's default."""

    # Failed attempts at most, the first one included; 1: no retry.
    max_attempts: int | None = None
    initial_backoff_s: float | None = None
    max_backoff_s: float | None = None
    backoff_multiplier: float | None = None
    # Codes to retry; empty: only UNAVAILABLE.
    retryable_codes: Sequence[grpc.StatusCode] = ()
    # Attempts lost with their agent at most.
    max_crashes: int | None = None

    def __post_init__(self) -> None:
        # On the wire, 0 means "the default". So it cannot mean "none" here.
        if self.max_attempts is not None and self.max_attempts < 1:
            raise refusals.invalid_field(
                f"max_attempts is {self.max_attempts}; 1 is the least", field="max_attempts"
            )
        if self.backoff_multiplier is not None and self.backoff_multiplier < 1:
            raise refusals.invalid_field(
                f"backoff_multiplier is {self.backoff_multiplier:g}; 1 is the least",
                field="backoff_multiplier",
            )

    def to_proto(self) -> options_pb2.RetryPolicy:
        return options_pb2.RetryPolicy(
            max_attempts=self.max_attempts or 0,
            initial_backoff=times.optional_duration(self.initial_backoff_s),
            max_backoff=times.optional_duration(self.max_backoff_s),
            backoff_multiplier=self.backoff_multiplier or 0.0,
            retryable_codes=[code.value[0] for code in self.retryable_codes],
            max_crashes=self.max_crashes,
        )

    def to_text(self) -> str:
        """As the metadata `weft-retry` of a durable call. Empty: nothing is set."""
        parts = {
            "max_attempts": self.max_attempts,
            "codes": "|".join(code.name for code in self.retryable_codes) or None,
            "initial_backoff": _seconds(self.initial_backoff_s),
            "max_backoff": _seconds(self.max_backoff_s),
            "backoff_multiplier": self.backoff_multiplier,
            "max_crashes": self.max_crashes,
        }
        return ",".join(f"{name}={value}" for name, value in parts.items() if value is not None)


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}s"
