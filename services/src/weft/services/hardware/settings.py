"""The settings of the hardware service: WEFT_HARDWARE_* variables, then `[services.hardware]` of weft.toml, then these defaults."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from weft.rpc.process.file_settings import FileSettings


class HardwareSettings(FileSettings):
    """Every setting of the hardware service."""

    model_config = SettingsConfigDict(env_prefix="WEFT_HARDWARE_", extra="forbid")
    table: ClassVar[str] = "services.hardware"

    max_reads: int = Field(
        default=4,
        ge=1,
        le=64,
        description="threads that read the machine at a time; further calls wait for their turn, within their deadlines",
    )
    max_watches: int = Field(
        default=4,
        ge=0,
        le=1000,
        description="callers that watch the machine at a time, each of which takes a slot of the agent; further ones are refused",
    )
    sample_interval_s: float = Field(
        default=15.0,
        ge=0.0,
        le=3600.0,
        description="the machine is read so often, so that suggestions are about more than a moment; 0: never. Else at least a second",
    )
    history_s: float = Field(
        default=600.0,
        ge=1.0,
        le=86_400.0,
        description="samples are kept for so long, at most 1000 of them",
    )
    model_timeout_s: float = Field(
        default=45.0,
        ge=1.0,
        le=110.0,
        description="how long a model may take for a question of what would be; then rules answer",
    )
    label_facts: bool = Field(
        default=True,
        description="the agent has the resources `cpu`, `memory_bytes`, `gpu` and `gpu_memory_bytes`, and the label `gpu.name`, as its machine and"
        " its control group allow, unless it was given others",
    )

    @field_validator("sample_interval_s")
    @classmethod
    def _check_interval(cls, value: float) -> float:
        if 0 < value < 1:
            raise ValueError("it is 0, or at least 1")
        return value
