"""The settings of the planner: WEFT_PLANNER_* variables, then `[services.planner]` of weft.toml, then these defaults."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from weft.rpc.process.file_settings import FileSettings


class PlannerSettings(FileSettings):
    """Every setting of the planner."""

    model_config = SettingsConfigDict(env_prefix="WEFT_PLANNER_", extra="forbid")
    table: ClassVar[str] = "services.planner"

    max_steps: int = Field(
        default=2000,
        ge=1,
        le=9000,
        description="tasks of one run, with those of all items of its maps; a step beyond fails",
    )
    max_parallel: int = Field(
        default=64,
        ge=1,
        le=1000,
        description="tasks of one run that are under way at a time; further ones are submitted later",
    )
    max_output_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="responses that one run keeps, together; the step whose response is beyond fails",
    )
