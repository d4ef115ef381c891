"""The form of tickets: what a caller shows at an agent's own port instead of its token. Pure.

    weft_ticket.eyJ…   .  3Kd…
                claims    HMAC-SHA256 of the claims, with the key of one process of one agent

The key of a process is made of a secret that coordinators alone have, so that an agent can make tickets for itself alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from google.protobuf.message import DecodeError

from weft.v1 import security_pb2

PREFIX = "weft_ticket."
# Far more than the largest scope.
MAX_CHARS = 256 * 1024


class BadTicket(ValueError):
    """A text is no ticket, or has another key; the message says why, and has nothing of the text."""


def is_ticket(text: str) -> bool:
    """Whether a text says that it is a ticket."""
    return text.startswith(PREFIX)


def key_of(secret: bytes, namespace: str, agent: security_pb2.AgentProcess) -> bytes:
    """The key of tickets for one process of an agent in a namespace."""
    parts = namespace, agent.agent_id, agent.instance_id
    named = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.digest(secret, named.encode(), hashlib.sha256)


def signed(claims: security_pb2.Ticket, key: bytes) -> str:
    """The ticket's text."""
    said = claims.SerializeToString()
    return f"{PREFIX}{_encoded(said)}.{_encoded(hmac.digest(key, said, hashlib.sha256))}"


def claims_of(text: str) -> security_pb2.Ticket:
    """What a ticket says. It is not verified: it tells which key to verify it with.

    Raises:
        BadTicket
    """
    return _parts(text)[0]


def verified(text: str, key: bytes) -> security_pb2.Ticket:
    """What a ticket says, if it was made with the key.

    Raises:
        BadTicket
    """
    claims, said, proof = _parts(text)
    if not hmac.compare_digest(proof, hmac.digest(key, said, hashlib.sha256)):
        raise BadTicket("it was not made for this agent's process, or was changed")
    return claims


def _parts(text: str) -> tuple[security_pb2.Ticket, bytes, bytes]:
    said, dot, proof = text.removeprefix(PREFIX).partition(".")
    if not dot or not is_ticket(text) or len(text) > MAX_CHARS:
        raise BadTicket("it is cut, or longer than a ticket can be")
    try:
        message, digest = _decoded(said), _decoded(proof)
        if len(digest) != hashlib.sha256().digest_size:
            raise BadTicket("it is cut")
        return security_pb2.Ticket.FromString(message), message, digest
    except BadTicket:
        raise
    except (ValueError, DecodeError):
        raise BadTicket("it is damaged") from None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
