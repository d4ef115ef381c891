"""Asks a coordinator whose a token or a ticket is."""

from __future__ import annotations

import math

from grpc import aio

from weft.rpc import refusals
from weft.rpc.errors import WeftError, from_call, from_status
from weft.rpc.identity.caller import told_caller
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.times import seconds
from weft.v1 import security_pb2
from weft.v1.security_pb2_grpc import TokenServiceStub

TIMEOUT_S = 5.0


async def asked(channel: aio.Channel, text: str, now: float) -> TokenVerdict | None:
    """The coordinator's verdict; None: it asks for no tokens.

    Args:
        channel: leads to a coordinator, and shows it an agent's token.
        now: by the judge's clock.

    Raises:
        Unauthenticated: the token is not valid.
        Unavailable: the coordinator cannot be asked.
    """
    try:
        answer = await TokenServiceStub(channel).CheckToken(
            security_pb2.CheckTokenRequest(text=text), timeout=TIMEOUT_S
        )
    except aio.AioRpcError as error:
        raise _not_told(from_call(error)) from None
    if answer.unchecked:
        return None
    if answer.HasField("refusal"):
        raise from_status(answer.refusal)
    ends_at = now + seconds(answer.ends_in) if answer.HasField("ends_in") else math.inf
    return TokenVerdict(told_caller(answer), ends_at, now + seconds(answer.time_left))


def _not_told(error: WeftError) -> WeftError:
    return refusals.callers_unknown(f"its coordinator does not tell: {error.message}")
