"""An agent whose methods are an app's: the app, the agent's own parts, and the egress, wired together.

    mesh ──► agent ──► app        durable and direct calls of the app's methods
    mesh ◄── egress ◄── app       the app's calls of any method of the mesh

The egress comes first, since an app may need the mesh to start; the agent comes when the app's contract is known. When the
app is lost its methods take no calls; when it comes back with another contract, the agent says hello with that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from weft.agent.agent import Agent
from weft.agent.agent_figures import AgentFigures
from weft.agent.errors import HostingError, SettingsError
from weft.agent.hosting.hosted_policies import with_options
from weft.agent.hosting.method_rules import with_rules
from weft.agent.operators_ports import operators_ports
from weft.agent.process.stopping_signals import stop_on_signals
from weft.agent.runtime import Runtime
from weft.agent.sidecar.app import App
from weft.agent.sidecar.app_contract import AppContract, by_reflection, from_file
from weft.agent.sidecar.calls_in_flight import HandledCalls
from weft.agent.sidecar.egress import Egress
from weft.agent.sidecar.forwarding import forwarded
from weft.agent.sidecar.sidecar_settings import OFF, SidecarAgentSettings, SidecarSettings
from weft.rpc.network import targets
from weft.rpc.network.channel import Route
from weft.rpc.network.exposure import ExposedPort, Exposure, Port
from weft.rpc.registries.resolved_targets import resolved
from weft.rpc.security.process_tls import process_tls

# Time for the app's calls that are under way at the end.
EGRESS_GRACE_S = 2.0


class Sidecar(Agent):
    """Runs beside an app, a stock gRPC server, and hosts its methods; `run` and `stop` as an agent's.

    Args:
        sidecar: the settings of a sidecar alone.
        agent: settings that every agent has, as `Agent` takes them.

    Raises:
        InvalidArgument: a setting has a wrong value, or the file of descriptors makes no contract.
    """

    settings_type = SidecarAgentSettings

    def __init__(self, sidecar: SidecarSettings, **agent: Any) -> None:
        super().__init__(**agent)
        self._sidecar = sidecar
        self._described = from_file(sidecar.descriptors) if sidecar.descriptors is not None else None
        self._calls = HandledCalls()
        self._app: App | None = None
        # The contract that is hosted.
        self._hosted: AppContract | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Set when the app's contract is known, when it cannot be had, or at a stop.
        self._decided = asyncio.Event()
        self._stopped = False

    def stop(self) -> None:
        """Drain and end, from any thread; a second time: without waiting. Also while it waits for the app."""
        self._stopped = True
        super().stop()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._decided.set)

    async def _serve(self, *, own_process: bool) -> None:
        self._loop = asyncio.get_running_loop()
        restore = stop_on_signals(self.stop) if own_process else None
        try:
            ports = operators_ports(self.settings, self.figures)
            async with ports as figures, self._egress(figures):
                await self._beside_app(figures, own_process=own_process)
        finally:
            self._loop = None
            if restore is not None:
                restore()

    @contextlib.asynccontextmanager
    async def _egress(self, figures: AgentFigures) -> AsyncIterator[None]:
        """Keep the egress open until the app's last call ends. It opens before the app, which may need it to start."""
        if self._sidecar.egress == OFF:
            yield
            return
        tls = process_tls(self.settings.tls)
        if self._sidecar.egress_tls and tls.ports is None:
            raise SettingsError(
                "egress_tls needs the agent's certificate: set tls_cert and tls_key", field="egress_tls"
            )
        exposure = Exposure(allowed=self.settings.insecure)
        self._check_egress(exposure)
        if targets.is_source(self.settings.target[0]):
            # Its first addresses are not waited for on the loop.
            await asyncio.to_thread(resolved, self.settings.target)
        egress = Egress(
            self._sidecar.egress,
            self.settings.target,
            self._sidecar.durable,
            self._calls,
            route=Route(
                self.settings.use_proxy, tls.channels, self.settings.proof(), self.settings.namespace
            ),
            max_message_bytes=self.settings.max_message_bytes,
            max_calls=self._sidecar.max_calls,
        )
        figures.ask_egress(egress.admission, egress.balancer)
        figures.denied["egress"] = egress.rights.edge.refused.counts
        egress.observe = figures.calls_made.observe
        try:
            await egress.start(tls.ports if self._sidecar.egress_tls else None)
            yield
        finally:
            await egress.close(EGRESS_GRACE_S)
            exposure.close()

    def _check_egress(self, exposure: Exposure) -> None:
        """
        Raises:
            HostingError: the egress would be open to other machines without protection.
        """
        # A token of the app's own is not needed: whoever reaches the egress calls as the sidecar.
        by_certificates = self._sidecar.egress_tls and bool(self.settings.tls_client_ca)
        port = Port(
            "the egress",
            self._sidecar.egress,
            self._sidecar.egress_tls,
            by_certificates,
            "Let it listen on this machine alone (--egress 127.0.0.1:7701, or --egress unix:PATH); or let it ask for certificates"
            " (--egress-tls --tls-cert FILE --tls-key FILE --tls-client-ca FILE)",
        )
        try:
            exposure.check(port)
        except ExposedPort as error:
            raise HostingError(str(error)) from None

    async def _beside_app(self, figures: AgentFigures, *, own_process: bool) -> None:
        """Wait for the app, then run as its agent until stopped.

        Raises:
            WeftError: the app's methods cannot be hosted, or a coordinator refused them.
        """
        app = self._app = App(
            self._sidecar.app,
            self._read,
            self._app_changed,
            self.settings.max_message_bytes,
            Route(security=process_tls(self._sidecar.app_tls).channels),
        )
        app.observe = figures.calls_made.observe
        following = asyncio.ensure_future(app.run())
        following.add_done_callback(self._app_ended)
        try:
            await self._decided.wait()
            if self._hosted is not None and not self._stopped:
                self._check()
                await self._run(figures, own_process=own_process)
            if following.done():
                following.result()
        finally:
            following.cancel()
            await asyncio.wait({following})

    async def _read(self, channel: grpc.aio.Channel) -> AppContract:
        return self._described or await by_reflection(channel)

    def _make_runtime(self, figures: AgentFigures, *, exit_when_blocked: bool) -> Runtime:
        assert self._app is not None
        runtime = super()._make_runtime(figures, exit_when_blocked=exit_when_blocked)
        runtime.make_unavailable(self._app.unavailable)
        return runtime

    def _app_changed(self) -> None:
        assert self._app is not None
        contract = self._app.contract
        if contract is not None and contract is not self._hosted:
            self._host(contract)
        if self._runtime is not None:
            self._runtime.make_unavailable(self._app.unavailable)

    def _host(self, contract: AppContract) -> None:
        assert self._app is not None
        self._hosted = contract
        forwarding = [forwarded(method, self._app, self._calls) for method in contract.methods]
        hosted = with_rules(with_options(forwarding, {}))
        # Changed in place: the parts of a running agent hold this object.
        self._methods.clear()
        self._methods.update((method.name, method) for method in hosted)
        if self._runtime is not None:
            self._runtime.update_methods()
        self._decided.set()

    def _app_ended(self, following: asyncio.Future[None]) -> None:
        """React to the end of the task that follows the app."""
        if not following.cancelled():
            self.stop()
