"""An agent's clients of its mesh, by its settings."""

from __future__ import annotations

from weft.agent.handlers.mesh_clients import MeshClients
from weft.agent.settings import AgentSettings


def clients_of(settings: AgentSettings) -> MeshClients:
    """They reach the same coordinators as the agent, by its certificates, and show its token, in its namespace."""
    return MeshClients(
        settings.target,
        use_proxy=settings.use_proxy,
        max_message_bytes=settings.max_message_bytes,
        tls=settings.tls,
        token=settings.shown_token,
        payloads=settings.payloads,
        namespace=settings.namespace,
    )
