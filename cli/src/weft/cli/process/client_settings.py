"""The settings of commands that are clients: variables, then files, then defaults. Options come before them."""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from weft.cli.terminal.failure import Failure
from weft.rpc.errors import InvalidArgument
from weft.rpc.network.targets import DEFAULT_TARGET, parse
from weft.rpc.payloads.payload_options import DEFAULT_KEEP_S, DEFAULT_STORE_FROM_BYTES
from weft.rpc.process.file_settings import FileSettings
from weft.rpc.security.namespace_names import chosen_namespace
from weft.rpc.security.tls import Tls, misfit, tls_of


class ClientSettings(FileSettings):
    """Every setting of a client. Each has an environment variable: WEFT_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="WEFT_", extra="forbid")
    table: ClassVar[str] = "client"

    target: str = Field(
        default=DEFAULT_TARGET,
        description="address of the coordinator, `host:port`; several that share a store are separated by commas; or a source of"
        " addresses, such as `consul://host:8500/weft`",
    )
    namespace: str = Field(
        default="",
        description="namespace of all calls; unless set, the one that the token names, or `default`",
    )
    use_proxy: bool = Field(
        default=False,
        description="reach coordinators through the proxy that `grpc_proxy`, `https_proxy` or `http_proxy` names, unless"
        " `no_grpc_proxy` or `no_proxy` excepts them",
    )
    tls_ca: str = Field(
        default="",
        description="file of the authorities (CA) that sign the certificates of coordinators and agents, or `system`:"
        " connections to them use TLS",
    )
    tls_cert: str = Field(
        default="", description="file of the own certificate, where callers must show one (mTLS)"
    )
    tls_key: str = Field(
        default="", description="file of the certificate's private key, for its user alone (mode 600)"
    )
    tls_server_name: str = Field(
        default="", description="name in the coordinator's certificate; unless set, the host of its address"
    )
    tls_pin: str = Field(
        default="",
        description="`sha256:…`, of the authority of a mesh that makes certificates by itself (`weft coordinator --ca auto`): the"
        " client joins with its token, and gets its certificate there, instead of files",
    )
    tls_join: str = Field(
        default="",
        description="where such a mesh is joined, `host:port`, or several; unless set, the hosts of the target, at the port after its",
    )

    payload_keys_file: str = Field(
        default="",
        description="file of keys: requests are encrypted by the first one (AES-GCM), responses decrypted by all; read again when it changes",
    )
    payload_compression: str = Field(
        default="", description="compression of requests, `zlib` or `zstd`; unset: none"
    )
    payload_codec: str = Field(default="", description="a codec of one's own for payloads, `module:object`")
    payload_store: str = Field(
        default="",
        description="where large payloads go: a folder, or a URL of fsspec such as `s3://bucket/prefix`",
    )
    payload_store_from_bytes: int = Field(
        default=DEFAULT_STORE_FROM_BYTES, ge=0, description="messages of this size or larger go there"
    )
    payload_keep_s: float = Field(
        default=DEFAULT_KEEP_S, ge=1.0, description="how long they stay there, at least"
    )
    payload_max_bytes: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="the largest message of a coded call; 0: 1 GiB with a store, 64 MiB without one",
    )

    payload_required: bool = Field(
        default=False,
        description="refuse results of tasks that are not coded: those of stock callers' tasks, too",
    )

    @property
    def tls(self) -> Tls | None:
        """Certificates of connections; None: they are plain."""
        return tls_of(
            ca=self.tls_ca,
            cert=self.tls_cert,
            key=self.tls_key,
            server_name=self.tls_server_name,
            pin=self.tls_pin,
            join=self.tls_join,
        )

    @field_validator("target")
    @classmethod
    def _check_target(cls, value: str) -> str:
        try:
            return ",".join(parse(value))
        except InvalidArgument as error:
            raise ValueError(error.message) from None

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, value: str) -> str:
        try:
            return chosen_namespace(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from None

    @model_validator(mode="after")
    def _tls_fits_together(self) -> ClientSettings:
        files = self.tls_ca, self.tls_cert, self.tls_key, self.tls_server_name, ""
        found = misfit(*files, self.tls_pin, self.tls_join)
        if found is not None:
            raise ValueError("tls_{}: {}".format(*found))
        return self


def client_settings() -> ClientSettings:
    """The settings in force.

    Raises:
        Failure: settings have wrong values.
    """
    try:
        return ClientSettings()
    except ValidationError as error:
        raise Failure(
            "bad settings of the client", *map(str, ClientSettings.faults(error, {})), status=2
        ) from None


def put_in_environment() -> None:
    """Set the variables of the client's settings that files have: options and connections read variables."""
    settings = client_settings()
    for name in ClientSettings.model_fields:
        if ClientSettings.origin(name).source in {".env", "weft.toml"}:
            value = getattr(settings, name)
            os.environ[ClientSettings.variables(name)[0]] = (
                str(value).lower() if isinstance(value, bool) else str(value)
            )
