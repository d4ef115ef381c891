"""The names in certificates that a mesh makes by itself: for whom they are, and by which names ports are verified. Pure.

    spiffe://mesh/agent/worker-1        an agent; the rest of the path is its id
    spiffe://mesh/client/3fKq9ZpL0aBc   any other caller; the rest is the id of the token with which it joined
    spiffe://mesh/outside/corp/alice    a caller with a token of an outside issuer, which shows it with each call, too
    coordinator.weft                    the port of each coordinator, whatever its address

gRPC verifies host names only, and an agent's id need not be one: an agent's port is verified by a name that is made from the id.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

COORDINATOR = "coordinator.weft"
_DOMAIN = "spiffe://mesh"
COORDINATOR_URI = f"{_DOMAIN}/coordinator"
_AGENT = "/agent/"
_CLIENT = f"{_DOMAIN}/client/"
_OUTSIDE = f"{_DOMAIN}/outside"
# In the place of a token's id: it is none.
OUTSIDE_NAME = "outside-issuer"
_AGENT_ID = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")


def is_agent_id(text: str) -> bool:
    """Whether an agent can have an id."""
    return _AGENT_ID.fullmatch(text) is not None


def agent_uri(agent_id: str) -> str:
    """The identity of an agent."""
    return f"{_DOMAIN}{_AGENT}{agent_id}"


def client_uri(token_id: str) -> str:
    """The identity of a caller that is no agent."""
    return f"{_CLIENT}{token_id}"


def outside_uri(subject: str) -> str:
    """The identity of a caller that another token than the mesh's own proves.

    Args:
        subject: as policies call the caller: "jwt:corp:alice".
    """
    issuer, _, name = subject.removeprefix("jwt:").partition(":")
    return f"{_OUTSIDE}/{issuer}/{quote(name, safe='')}"


def agent_port(agent_id: str) -> str:
    """The name by which an agent's port is verified."""
    return f"{hashlib.sha256(agent_id.encode()).hexdigest()[:32]}.agent.weft"


def agent_of(subject: str) -> str:
    """The agent's id in an identity, of any trust domain: "spiffe://prod.example/agent/worker-1". Empty: it is no agent's."""
    if not subject.startswith("spiffe://"):
        return ""
    _, found, agent_id = subject.removeprefix("spiffe://").partition(_AGENT)
    return agent_id if found else ""
