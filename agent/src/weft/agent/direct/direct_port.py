"""An agent's own port from its opening to its end: the direct server, its address and certificate, and the check of its callers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from grpc import aio

from weft.agent.direct.caller_check import CallerCheck
from weft.agent.direct.direct_handlers import DirectParts
from weft.agent.direct.direct_server import DirectServer
from weft.agent.direct.listening import OFF, dialled_address, listen_address
from weft.agent.errors import ListenError
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.process import own_sockets
from weft.agent.settings import AgentSettings
from weft.rpc.network.agent_ports import stays_here
from weft.rpc.network.exposure import ExposedPort, Exposure, Port
from weft.rpc.process.logs import get_logger
from weft.rpc.security.process_tls import ProcessTls
from weft.rpc.times import seconds
from weft.v1 import fleet_pb2, session_pb2

if TYPE_CHECKING:
    from weft.rpc.registries.registration import Registration

_log = get_logger("weft.agent")

MOST_NOTICE_S = 5.0


class PortUsers(NamedTuple):
    """What the port needs of its agent.

    Attributes:
        methods: the hosted ones; they may change while it is open.
        parts: shared with durable attempts.
        describe: the agent as it is now.
        coordinator: a channel to the coordinator that the agent is connected to; None: to none.
    """

    methods: Mapping[str, HostedMethod]
    parts: DirectParts
    describe: Callable[[], fleet_pb2.Agent]
    coordinator: Callable[[], aio.Channel | None]


class DirectPort:
    """The port. Made, opened and stopped on the application's event loop."""

    def __init__(self, settings: AgentSettings, instance_id: str, tls: ProcessTls, users: PortUsers) -> None:
        self._settings = settings
        self._tls = tls
        self._users, self.use = users, users.parts.use
        self._server: DirectServer | None = None
        self._unavailable: frozenset[str] = frozenset()
        has_token = settings.shown_token != Path()
        self._has_token = has_token
        self.callers = CallerCheck(settings.id, instance_id, users.coordinator, has_token=has_token)
        self._exposure = Exposure(allowed=settings.insecure)
        # The advertised address of the direct server, and a name in its certificate; empty: there is none.
        self.address = self.tls_name = ""
        # As the last coordinator wants it.
        self._notice_s = 0.0
        # The keys by which its sockets are recognised.
        self.listening: own_sockets.Key = ""
        self._accepts = True
        self._registration: Registration | None = None

    async def open(self, contract: bytes) -> None:
        """Open the port, unless it is off.

        Args:
            contract: the serialized FileDescriptorSet behind the methods.

        Raises:
            ListenError: it cannot have its address.
        """
        settings = self._settings
        if settings.listen == OFF:
            self._not_registered("it has no port of its own (WEFT_AGENT_LISTEN=off)")
            return
        address = await listen_address(settings.listen, settings.target)
        if not self._may_open(address):
            self._not_registered("its port is not opened")
            return
        users = self._users
        self._server = DirectServer(
            users.methods, users.parts, contract=contract, describe=users.describe, edge=self.callers.edge
        )
        self._server.make_unavailable(self._unavailable)
        port = self._server.bind(address, self._tls.ports)
        self.tls_name = "" if address.startswith("unix:") else self._tls.server_name
        self.listening = own_sockets.key(address if address.startswith("unix:") else f":{port}")
        self.callers.start()
        await self._server.start()
        self.address = settings.advertised_address or await dialled_address(address, port, settings.target)
        _log.info("direct.opened", agent_id=settings.id, address=self.address)
        self._register()

    def _register(self) -> None:
        """Write the services into the registry of the settings, if there is one.

        Raises:
            MissingExtra: what it needs is not installed.
        """
        if not self._settings.discovery:
            return
        from weft.rpc.network.registry_url import registrar_url
        from weft.rpc.registries.registration import Registration, ServiceOwner

        owner = ServiceOwner(self._settings.id, self.address, self.tls_name)
        self._registration = Registration(registrar_url(self._settings.discovery), owner, self._services)
        self._registration.start()

    def _not_registered(self, why: str) -> None:
        if self._settings.discovery:
            _log.warning("registry.nothing_to_write", registry=self._settings.discovery, error=why)

    def _services(self) -> Collection[str]:
        """Those that take direct calls now."""
        if not self._accepts:
            return ()
        return {method.rpartition("/")[0] for method in self._users.methods} - self._unavailable

    def _may_open(self, address: str) -> bool:
        """Whether the port is opened: one that would be open to other machines without protection is not, unless the settings name
        its address.

        Raises:
            ListenError: they do, and it may not be opened so.
        """
        settings = self._settings
        by_certificates = bool(settings.tls_client_ca)
        port = Port(
            "the direct server's port",
            address,
            self._tls.ports is not None,
            self._has_token or by_certificates,
            "Let it listen on this machine alone (WEFT_AGENT_LISTEN=127.0.0.1:0), or not at all"
            f" (WEFT_AGENT_LISTEN={OFF}); or give the agent a certificate and a token (--tls-cert FILE --tls-key FILE --token-file"
            " FILE); or let it ask for certificates (--tls-client-ca FILE)",
        )
        try:
            self._exposure.check(port)
        except ExposedPort as error:
            if settings.listen:
                raise ListenError(str(error)) from None
            _log.warning(
                "direct.not_opened",
                address=address,
                error=str(error),
                effect="the agent takes no direct calls; tasks reach it all the same",
            )
            return False
        # Tokens are all that protects it: they are asked for whatever coordinators do.
        exposed = not stays_here(address)
        self.callers.must = exposed and self._has_token and not by_certificates and not settings.insecure
        return True

    def renamed(self) -> bool:
        """Whether its certificate has another name since the last look. From any thread."""
        ports = self._tls.ports
        if not self.tls_name or ports is None or not ports.look() or self._tls.server_name == self.tls_name:
            return False
        self.tls_name = self._tls.server_name
        return True

    def update_methods(self, contract: bytes) -> None:
        """Serve other methods, with this contract behind them."""
        if self._server is not None:
            self._server.update_methods(contract)

    def make_unavailable(self, services: frozenset[str]) -> None:
        """Report in health that these services take no calls, and that all others do."""
        self._unavailable = services
        if self._server is not None:
            self._server.make_unavailable(services)

    def accept(self, *, on: bool) -> None:
        """Take new calls, or refuse them, when `notice_s` is over."""
        self._accepts = on
        if self._server is not None:
            self._server.accept(on=on, notice_s=self._notice_s)

    @property
    def notice_s(self) -> float:
        """How long calls are taken when they are to be refused: clients hear of it in this time."""
        return 0.0 if self._server is None else self._notice_s

    def welcomed(self, welcome: session_pb2.Welcome) -> None:
        """A session is open."""
        self._notice_s = min(MOST_NOTICE_S, seconds(welcome.direct_notice))
        if self._server is not None:
            self.callers.welcomed(welcome)

    def tokens_changed(self) -> None:
        """Tokens of callers have changed."""
        if self._server is not None:
            self.callers.tokens_changed()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Refuse new calls, cancel running ones after the grace, and close the port."""
        if self._registration is not None:
            await self._registration.close()
        if self._server is not None:
            await self._server.stop(grace_s)
        await self.callers.stop()
        self._exposure.close()
