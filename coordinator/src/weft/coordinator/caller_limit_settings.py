"""The coordinator's limits of each caller, for callers whose token and policy say nothing else."""

from __future__ import annotations

from pydantic import Field, field_validator

from weft.rpc.identity.caller_limits import LEAST_RATE, MOST, CallerLimits, SetLimits
from weft.rpc.process.file_settings import FileSettings

_PREFIX = "caller_"


class CallerLimitSettings(FileSettings):
    """A part of the coordinator's settings. 0: no limit."""

    caller_calls_per_s: float = Field(
        0.0,
        ge=0,
        le=MOST,
        description="calls that one caller may begin each second here, unless its token or the policy says otherwise; each task of a stream"
        " of submissions counts as one; more are refused, and streams slowed. 0: any number",
    )
    caller_open_calls: int = Field(
        0,
        ge=0,
        description="calls of one caller that are open here at a time, without streams; likewise. 0: any number",
    )
    caller_open_streams: int = Field(
        0, ge=0, description="streams of one caller that are open here at a time; likewise. 0: any number"
    )
    caller_bytes_per_s: float = Field(
        0.0,
        ge=0,
        le=MOST,
        description="bytes of one caller's requests and responses here each second; likewise. 0: any number",
    )
    caller_queued_tasks: int = Field(
        0,
        ge=0,
        description="unfinished tasks that one caller may have in a namespace, at all coordinators together; likewise. 0: any number",
    )

    @field_validator("caller_calls_per_s", "caller_bytes_per_s")
    @classmethod
    def _check_rate(cls, value: float) -> float:
        if 0 < value < LEAST_RATE:
            raise ValueError(f"a rate is 0 (no limit) or at least {LEAST_RATE}")
        return value

    @property
    def caller_limits(self) -> SetLimits:
        """Those that are set."""
        given = {name: float(getattr(self, _PREFIX + name)) for name in CallerLimits._fields}
        return {name: value for name, value in given.items() if value}
