"""The settings of a coordinator's doors: where it listens, its certificates, and what it asks of callers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from weft.rpc.errors import InvalidArgument
from weft.rpc.network import unix_path
from weft.rpc.network.binding import checked_host_port
from weft.rpc.process.file_settings import FileSettings
from weft.rpc.security.tls import Tls, misfit, tls_of
from weft.rpc.times import MAX_DURATION_S


class DoorSettings(FileSettings):
    """The part of `CoordinatorSettings` that is about doors."""

    listen: str = Field("127.0.0.1:7700", description="address to serve on; port 0 takes a free one")
    address_file: Path | None = Field(None, description="file to write the bound address to, once serving")
    discovery: str = Field(
        "",
        description="registry into which the coordinator writes its address: `consul://host:8500/service`, `k8s://namespace/service` or"
        " `file:///path`; the service is `weft` unless named; empty: none",
    )
    tls_ca: str = Field(
        "",
        description="file of the authorities (CA) that sign agents' certificates, or `system`: direct calls by this coordinator use TLS",
    )
    tls_cert: str = Field("", description="file of this process' certificate: its port uses TLS")
    tls_key: str = Field(
        "", description="file of the certificate's private key, for its user alone (mode 600)"
    )
    tls_client_ca: str = Field(
        "",
        description="file of the authorities of callers: who shows no certificate of theirs is not let in (mTLS)",
    )
    ca: Literal["off", "auto"] = Field(
        "off",
        description="auto: the mesh makes its certificates itself, by an authority (CA) in the store: who joins with a token gets one, and"
        " all ports ask for them (mTLS). Needs `tokens` on",
    )
    ca_passphrase: SecretStr | None = Field(
        None,
        repr=False,
        description="encrypts the private key of that authority in the store; the same at all coordinators",
    )
    ca_names: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="host names and IP addresses in this coordinator's certificate, besides the machine's name, localhost and the host of"
        " `listen`: for clients that are not weft's",
    )
    certificate_ttl_s: float = Field(
        86400.0,
        ge=5,
        le=90 * 86400,
        description="certificates that the mesh makes are valid for so long; they are renewed after two thirds of it",
    )
    join_listen: str = Field(
        "",
        description="where callers without a certificate join, `host:port` (port 0: a free one); unless set, the host of `listen`, at the"
        " next port",
    )
    join_file: Path | None = Field(
        None,
        description="where it is written how the mesh is joined, as variables; unless set, beside the address file, or else weft-join.env",
    )
    tokens: Literal["off", "on"] = Field(
        "off",
        description="on: callers and agents must show tokens (`weft tokens`); the first start writes one for an operator",
    )
    insecure: bool = Field(
        False,
        description="ports may be open to other machines without TLS and a check of callers; without it, the coordinator refuses to"
        " start so",
    )
    keda: bool = Field(
        False,
        description="serve KEDA's external scaler (`externalscaler.ExternalScaler`): deployments of agents grow with the tasks that wait",
    )
    xds: bool = Field(
        False,
        description="serve discovery by xDS (`envoy.service.discovery.v3.AggregatedDiscoveryService`): gRPC's own clients call agents directly,"
        " at `xds:///` and a service's name",
    )
    operator_token_file: Path | None = Field(
        None,
        description="where the first operator's token is written; unless set, beside the address file, or else weft-operator.token",
    )
    policy: Path | None = Field(
        None,
        description="file of the access policy: which callers may call which methods; read again when it changes; needs tokens",
    )
    audit_log: Path | None = Field(
        None,
        description="file of the audit: who did what, a line of JSON for each event, in a chain of digests (`weft audit verify`)",
    )
    audit_keep_s: float = Field(
        30 * 86400.0,
        ge=0,
        le=MAX_DURATION_S,
        description="events of the audit are kept in the store for so long, where tokens are on or there is a file for it; 0: not at all",
    )

    @property
    def first_token_file(self) -> Path:
        """Where the first operator's token is written."""
        if self.operator_token_file is not None:
            return self.operator_token_file
        beside = self.address_file
        return Path("weft-operator.token") if beside is None else beside.with_name(f"{beside.name}.token")

    @property
    def first_join_file(self) -> Path:
        """Where it is written how the mesh is joined."""
        if self.join_file is not None:
            return self.join_file
        beside = self.address_file
        return Path("weft-join.env") if beside is None else beside.with_name(f"{beside.name}.join")

    @property
    def join_address(self) -> str:
        """Where the join port listens."""
        if self.join_listen:
            return self.join_listen
        host, _, port = self.listen.rpartition(":")
        return f"{host}:{int(port) + 1 if int(port) else 0}"

    @property
    def tls(self) -> Tls | None:
        """Certificates of its ports and connections; None: they are plain."""
        return tls_of(ca=self.tls_ca, cert=self.tls_cert, key=self.tls_key, client_ca=self.tls_client_ca)

    @model_validator(mode="after")
    def _tls_fits_together(self) -> Self:
        found = misfit(self.tls_ca, self.tls_cert, self.tls_key, "", self.tls_client_ca)
        if found is not None:
            raise ValueError("tls_{}: {}".format(*found))
        return self

    @model_validator(mode="after")
    def _policy_knows_callers(self) -> Self:
        if self.policy is not None and self.tokens == "off":
            raise ValueError("policy: callers are told apart by tokens only; set tokens to on as well")
        return self

    @model_validator(mode="after")
    def _authority_fits(self) -> Self:
        if self.ca == "off":
            return self
        if self.tokens != "on":
            raise ValueError("ca: without tokens, everybody would get a certificate: set tokens to on")
        if self.tls is not None:
            raise ValueError(
                "ca: the mesh makes its certificates itself: leave tls_ca, tls_cert, tls_key and tls_client_ca out"
            )
        if self.listen.startswith("unix:"):
            raise ValueError("ca: a unix socket has no TLS: let it listen on HOST:PORT")
        return self

    @field_validator("listen")
    @classmethod
    def _check_unix_listen(cls, value: str) -> str:
        try:
            unix_path.check(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("discovery")
    @classmethod
    def _check_discovery(cls, value: str) -> str:
        if value:
            from weft.rpc.network.registry_url import registrar_url

            try:
                registrar_url(value, of_coordinator=True)
            except InvalidArgument as error:
                raise ValueError(error.message) from None
        return value

    @field_validator("ca_names", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return (
            [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value
        )

    @field_validator("join_listen")
    @classmethod
    def _check_join_listen(cls, value: str) -> str:
        return checked_host_port(value, "0.0.0.0:7701")

    @field_validator("listen")
    @classmethod
    def _has_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value.startswith("unix:"):
            return value
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{value!r} is not HOST:PORT, such as 127.0.0.1:7700 or 0.0.0.0:7700")
        return value
