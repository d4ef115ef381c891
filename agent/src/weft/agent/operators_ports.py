"""The ports for operators that an agent has while it runs: metrics, and channelz."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from weft.agent.agent_figures import AgentFigures
from weft.agent.errors import ListenError
from weft.agent.settings import AgentSettings
from weft.rpc.identity.http_door import asks_scrapers
from weft.rpc.network.binding import OperatorsBindError
from weft.rpc.network.exposure import ExposedPort, Exposure, Port
from weft.rpc.operators.channelz_port import ChannelzPort
from weft.rpc.security.process_tls import process_tls
from weft.rpc.telemetry.figures import Figures
from weft.rpc.telemetry.metrics_endpoint import HTTPS


@contextlib.asynccontextmanager
async def operators_ports(settings: AgentSettings, into: Figures) -> AsyncIterator[AgentFigures]:
    """Open the ports that the settings ask for, for one run of an agent. Gives the run's figures.

    Args:
        into: what other edges read.

    Raises:
        ListenError: an address cannot be used.
    """
    exposure = Exposure(allowed=settings.insecure)
    figures = AgentFigures(settings.metrics, settings.tls)
    checked = settings.proof() is not None
    if checked and asks_scrapers(settings.metrics, settings.tls, insecure=settings.insecure):
        figures.shut()
    channelz = ChannelzPort(settings.channelz, process_tls(settings.tls).ports if settings.channelz else None)
    try:
        try:
            _check(exposure, settings)
            figures.bind()
            await channelz.start()
        except (ExposedPort, OperatorsBindError) as error:
            raise ListenError(str(error)) from None
        figures.listening = [address for address in (figures.address, channelz.address) if address]
        into.follow(figures.figures)
        yield figures
    finally:
        figures.close()
        await channelz.stop()
        exposure.close()


def _check(exposure: Exposure, settings: AgentSettings) -> None:
    """
    Raises:
        ExposedPort: a port would be open to other machines without TLS.
    """
    tls, metrics = settings.tls, settings.metrics
    if metrics:
        where = (
            "Serve them on this machine (--metrics 127.0.0.1:9464), or by TLS (--metrics https://HOST:PORT)"
        )
        place = metrics.removeprefix(HTTPS)
        exposure.check(Port("the port of the agent's metrics", place, metrics.startswith(HTTPS), None, where))
    if settings.channelz:
        where = (
            "Serve it on this machine (--channelz 127.0.0.1:9465), or by TLS (--tls-cert FILE --tls-key FILE)"
        )
        has_certificate = tls is not None and tls.serves
        exposure.check(Port("the agent's port of channelz", settings.channelz, has_certificate, None, where))
