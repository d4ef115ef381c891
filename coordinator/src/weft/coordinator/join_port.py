"""The port where callers without a certificate join a mesh that makes them by itself. It has TLS, and one service.

gRPC asks all callers of a port for a certificate, or none. So that each other port can ask, this one does not.
"""

from __future__ import annotations

import socket

from weft.coordinator import guard
from weft.coordinator.audit.audited_calls import AuditedCalls
from weft.coordinator.identity.identity import Identity
from weft.coordinator.server_port import bind, write_whole
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.network.channel import make_server, server_options
from weft.rpc.network.routes import Routes
from weft.rpc.process.logs import get_logger
from weft.rpc.security.tls_files import TlsFiles
from weft.v1 import certificate_pb2_grpc

log = get_logger(__name__)

_ANY_HOST = ("0.0.0.0", "[::]")


class JoinPort:
    """The port.

    Args:
        files: with the coordinator's certificate.
        audited: its calls are told to the audit.
    """

    def __init__(
        self, settings: CoordinatorSettings, identity: Identity, files: TlsFiles, audited: AuditedCalls
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._files = files
        self._server = make_server(server_options(stalled_s=settings.stalled_stream_s))
        routes = Routes(identity.edge.behind(self._server))
        certificate_pb2_grpc.add_CertificateServiceServicer_to_server(
            identity.certificates, guard.Lenient(routes, audited.handler)
        )
        self.address = ""
        self._coordinator = ""

    def bind(self) -> None:
        """Take the address.

        Raises:
            BindError: it cannot be used.
        """
        listen = self._settings.join_address
        self.address = bind(self._server, listen, self._files, option="--join-listen", asks_callers=False)
        self._identity.certificates.join_port = int(self.address.rpartition(":")[2])

    async def start(self, coordinator: str) -> None:
        """Serve, and tell where and how the mesh is joined. The authority is known.

        Args:
            coordinator: the address of the coordinator's own port.
        """
        await self._server.start()
        self._coordinator = coordinator
        self._tell()
        self._identity.follow_pin(self._tell)

    def _tell(self) -> None:
        """Write how the mesh is joined now."""
        pin = self._identity.pin
        found = {
            "WEFT_TARGET": _reached(self._coordinator),
            "WEFT_TLS_PIN": pin,
            "WEFT_TLS_JOIN": _reached(self.address),
        }
        file = self._settings.first_join_file
        write_whole(file, "".join(f"{name}={value}\n" for name, value in found.items()))
        log.info("coordinator.joined_at", address=self.address, pin=pin, file=str(file))

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


def _reached(address: str) -> str:
    """An address for others: that of this machine, if the port listens on all of them."""
    host, _, port = address.rpartition(":")
    return f"{socket.gethostname()}:{port}" if host in _ANY_HOST else address
