"""The ports for operators that an agent has while it runs: metrics, and channelz."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from weft.agent.agent_figures import AgentFigures
from weft.agent.errors import ListenError
from weft.agent.settings import AgentSettings
from weft.rpc.network.binding import OperatorsBindError
from weft.rpc.operators.channelz_port import ChannelzPort
from weft.rpc.security.process_tls import process_tls
from weft.rpc.telemetry.figures import Figures


@contextlib.asynccontextmanager
async def operators_ports(settings: AgentSettings, into: Figures) -> AsyncIterator[AgentFigures]:
    """Open the ports that the settings ask for, for one run of an agent. Gives the run's figures.

    Args:
        into: what other edges read.

    Raises:
        ListenError: an address cannot be used.
    """
    figures = AgentFigures(settings.metrics, settings.tls)
    channelz = ChannelzPort(settings.channelz, process_tls(settings.tls).ports if settings.channelz else None)
    try:
        try:
            figures.bind()
            await channelz.start()
        except OperatorsBindError as error:
            raise ListenError(str(error)) from None
        figures.listening = [address for address in (figures.address, channelz.address) if address]
        into.follow(figures.figures)
        yield figures
    finally:
        figures.close()
        await channelz.stop()
