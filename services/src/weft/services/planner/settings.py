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
    model_timeout_s: float = Field(
        default=120.0,
        ge=1.0,
        le=600.0,
        description="how long one answer of a model may take when it makes a plan",
    )
    max_model_answers: int = Field(
        default=3,
        ge=1,
        le=10,
        description="answers of a model for one plan, each told what was wrong with the one before; then rules make the plan",
    )
