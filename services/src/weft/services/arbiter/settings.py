"""The settings of the arbiter: WEFT_ARBITER_* variables, then `[services.arbiter]` of weft.toml, then these defaults."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from weft.rpc.process.file_settings import FileSettings


class ArbiterSettings(FileSettings):
    """Every setting of the arbiter."""

    model_config = SettingsConfigDict(env_prefix="WEFT_ARBITER_", extra="forbid")
    table: ClassVar[str] = "services.arbiter"

    amounts: dict[str, float] = Field(
        default_factory=dict,
        description='how much there is of resources that belong to no agent, such as `{"licence": 5}`; of all others, what agents declare counts',
    )
    max_reservations: int = Field(
        default=200,
        ge=1,
        le=1000,
        description="reservations of one resource that have not ended; further ones are refused. The largest keyed state of the mesh bounds them, too",
    )

    @field_validator("amounts")
    @classmethod
    def _check_amounts(cls, value: dict[str, float]) -> dict[str, float]:
        for name, amount in value.items():
            if not (math.isfinite(amount) and amount >= 0):
                raise ValueError(f"{name} is {amount}; an amount is a number from 0 on")
        return value
