"""The settings of the assigner: WEFT_ASSIGNER_* variables, then `[services.assigner]` of weft.toml, then these defaults."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from weft.rpc.process.file_settings import FileSettings


class AssignerSettings(FileSettings):
    """Every setting of the assigner."""

    model_config = SettingsConfigDict(env_prefix="WEFT_ASSIGNER_", extra="forbid")
    table: ClassVar[str] = "services.assigner"

    sample_tasks: int = Field(
        default=100,
        ge=0,
        le=1000,
        description="the newest succeeded tasks of a method that are read for run times by agent",
    )
    unknown_run_s: float = Field(
        default=1.0,
        gt=0,
        le=86_400,
        description="how long a task is taken to run whose method nobody has measured",
    )
