"""The settings of the hardware service: WEFT_HARDWARE_* variables, then `[services.hardware]` of weft.toml, then these defaults."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from weft.rpc.process.file_settings import FileSettings


class HardwareSettings(FileSettings):
    """Every setting of the hardware service."""

    model_config = SettingsConfigDict(env_prefix="WEFT_HARDWARE_", extra="forbid")
    table: ClassVar[str] = "services.hardware"

    max_calls: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="calls that read the machine at a time; further ones wait for their turn, within their deadlines",
    )
