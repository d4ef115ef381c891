"""The settings of an agent that say how it codes payloads."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Self

from pydantic import AliasChoices, Field, SkipValidation, field_validator, model_validator

from weft.rpc.payloads.payload_options import DEFAULT_KEEP_S, DEFAULT_STORE_FROM_BYTES, Payloads
from weft.rpc.process.file_settings import FileSettings

_PREFIX = "payload_"


class PayloadSettings(FileSettings):
    """Each has the variable of clients, too: WEFT_PAYLOAD_…"""

    paths: ClassVar[frozenset[str]] = frozenset()

    payload_keys_file: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_payload_keys_file", "weft_payload_keys_file"),
        description="file of the keys by which callers encrypt payloads (AES-GCM), the first one for new payloads; read again when it"
        " changes. Unset: encrypted calls are refused",
    )
    payload_compression: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_payload_compression", "weft_payload_compression"),
        description="compression of coded payloads, `zlib` or `zstd`; unset: none. What others have compressed is read in any case",
    )
    # Or the codec itself, of a program.
    payload_codec: Annotated[str, SkipValidation] = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_payload_codec", "weft_payload_codec"),
        description="a codec of one's own for payloads, `module:object`",
    )
    payload_store: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_payload_store", "weft_payload_store"),
        description="where large coded payloads are: a folder, or a URL of fsspec such as `s3://bucket/prefix`",
    )
    payload_store_from_bytes: int = Field(
        default=DEFAULT_STORE_FROM_BYTES,
        ge=0,
        validation_alias=AliasChoices("weft_agent_payload_store_from_bytes", "weft_payload_store_from_bytes"),
        description="messages of this size or larger go into that store",
    )
    payload_keep_s: float = Field(
        default=DEFAULT_KEEP_S,
        ge=1.0,
        validation_alias=AliasChoices("weft_agent_payload_keep_s", "weft_payload_keep_s"),
        description="how long they stay there, at least; longer than tasks and their results are kept",
    )
    payload_max_bytes: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        validation_alias=AliasChoices("weft_agent_payload_max_bytes", "weft_payload_max_bytes"),
        description="the largest message of a coded call; 0: 1 GiB with a store, 64 MiB without one",
    )
    payload_required: bool = Field(
        default=False, description="refuse calls whose payloads are not coded, those of stock callers"
    )

    @field_validator("payload_codec")
    @classmethod
    def _check_codec(cls, value: Any) -> Any:
        if (
            value is None
            or isinstance(value, str)
            or all(hasattr(value, name) for name in ("name", "encode", "decode"))
        ):
            return value or ""
        raise ValueError("it is neither module:object nor a codec, which has a name, encode and decode")

    @model_validator(mode="after")
    def _required_can_be_read(self) -> Self:
        if self.payload_required and self.payloads is None:
            raise ValueError("payload_required: no coded call could be read; set payload_keys_file as well")
        return self

    @property
    def payloads(self) -> Payloads | None:
        """How payloads are coded; None: they are as they are."""
        if not (
            self.payload_keys_file or self.payload_compression or self.payload_store or self.payload_codec
        ):
            return None
        names = (each.name for each in dataclasses.fields(Payloads))
        return Payloads(**{name: getattr(self, f"{_PREFIX}{name}") for name in names})


def with_payloads(given: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, with `payloads`, if there is one, as the settings that it stands for."""
    payloads = given.pop("payloads", None)
    if payloads is None:
        return given
    return given | {
        f"{_PREFIX}{each.name}": getattr(payloads, each.name) for each in dataclasses.fields(Payloads)
    }
