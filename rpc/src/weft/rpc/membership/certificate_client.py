"""Asks a coordinator for a certificate. Blocks: for threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc

from weft.rpc.errors import from_call
from weft.rpc.network.channel import Route, client_options, dial_blocking
from weft.rpc.process.extras import require
from weft.rpc.security.channel_credentials import ChannelSecurity
from weft.rpc.security.tls import Tls
from weft.rpc.security.tls_files import TlsFiles
from weft.rpc.times import seconds

if TYPE_CHECKING:
    from weft.rpc.security.token_source import TokenSource

TIMEOUT_S = 5.0


class Issued(NamedTuple):
    """A new certificate, its key, and the authorities, as PEM; and when it should be renewed, in seconds from now."""

    certificate: bytes
    key: bytes
    authorities: bytes
    renew_after_s: float


def ask(address: str, tls: Tls, token: TokenSource | None, agent_id: str) -> Issued:
    """Ask for a certificate with a new key.

    Args:
        address: of a coordinator's port.
        tls: by which the coordinator is verified, and what is shown to it.
        token: what is shown besides; None: nothing.
        agent_id: empty: the certificate is no agent's.

    Raises:
        WeftError: as the coordinator says.
        MissingExtra: the packages that make keys are not installed.
    """
    require("security")
    from weft.rpc.security.certificates import PrivateKey
    from weft.v1.certificate_pb2 import IssueCertificateRequest
    from weft.v1.certificate_pb2_grpc import CertificateServiceStub

    key = PrivateKey()
    request = IssueCertificateRequest(signing_request=key.request(), agent_id=agent_id)
    route = Route(security=ChannelSecurity(TlsFiles(tls)), token=token)
    with dial_blocking(address, client_options(own_connection=True), route) as channel:
        try:
            reply = CertificateServiceStub(channel).IssueCertificate(
                request, timeout=TIMEOUT_S, metadata=route.caller_metadata(address)
            )
        except grpc.RpcError as error:
            raise from_call(error) from None
    return Issued(reply.certificate, key.pem, reply.authorities, seconds(reply.renew_after))
