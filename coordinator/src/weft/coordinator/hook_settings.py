"""The settings of webhooks."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from weft.rpc.process.file_settings import FileSettings
from weft.rpc.telemetry.metrics_endpoint import checked_address


class HookSettings(FileSettings):
    """The part of `CoordinatorSettings` that is about webhooks."""

    hooks: str = Field(
        "",
        description="address where other systems send webhooks, `host:port` (port 0: a free one), or `https://host:port`: by TLS with the"
        " process' certificate; empty: none. Needs the extra `http`",
    )
    hook_passphrase: SecretStr | None = Field(
        None,
        repr=False,
        description="encrypts the secrets of webhooks in the store; the same at all coordinators",
    )

    @field_validator("hooks")
    @classmethod
    def _check_hooks(cls, value: str) -> str:
        return checked_address(value)
