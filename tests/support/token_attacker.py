"""Attacks by callers without a right, at a port that asks for tokens: `python -m tests.support.token_attacker NAME TARGET SECONDS ID`.

In a process of its own, so that it takes no time of whoever measures. Prints what it did as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import json
import os
import random
import sys
import time
from collections.abc import Callable

import grpc.aio

from weft.rpc.security import tickets, tokens
from weft.rpc.times import timestamp
from weft.v1 import security_pb2

CALL = "/probe.v1.ProbeService/Call"
# Calls that are open at a time, over so many connections.
AT_ONCE, CONNECTIONS = 16, 4

# Makes what one call shows, of the id of somebody's token.
Show = Callable[[str], str]


def guessed_token(_id: str) -> str:
    return tokens.generate(tokens.generate_id())


def guessed_secret(token_id: str) -> str:
    """Of a token that there is."""
    return tokens.generate(token_id)


def forged_jwt(_id: str) -> str:
    """By a key that the issuer has never had, each with another name."""
    head = {"alg": "ES256", "kid": f"key-{random.getrandbits(64):x}", "typ": "JWT"}
    claims = {"iss": "https://corp.example", "aud": "weft", "sub": "x" * 4000, "exp": time.time() + 600}
    parts = [json.dumps(head).encode(), json.dumps(claims).encode(), random.randbytes(64)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def forged_ticket(_id: str) -> str:
    """By another key, for the agent itself: the proof alone is wrong."""
    claims = security_pb2.Ticket(
        agent=security_pb2.AgentProcess(agent_id="good", instance_id=f"{random.getrandbits(64):x}"),
        caller=security_pb2.CheckTokenResponse(role=4, subject="token:root"),
        create_time=timestamp(time.time()),
        expire_time=timestamp(time.time() + 600),
    )
    return tickets.signed(claims, random.randbytes(32))


ATTACKS: dict[str, Show] = {
    each.__name__: each for each in (guessed_token, guessed_secret, forged_jwt, forged_ticket)
}


async def attack(show: Show, target: str, seconds: float, token_id: str) -> collections.Counter[str]:
    """Call with another text each time; returns the calls by their end."""
    ends_at, ended = time.monotonic() + seconds, collections.Counter[str]()
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(CONNECTIONS)]

    async def caller(number: int) -> None:
        call = channels[number % CONNECTIONS].unary_unary(CALL)
        while time.monotonic() < ends_at:
            try:
                await call(b"", metadata=(("weft-token", show(token_id)),), timeout=10)
            except grpc.aio.AioRpcError as error:
                ended[error.code().name] += 1
            else:
                ended["OK"] += 1

    await asyncio.gather(*map(caller, range(AT_ONCE)))
    return ended


def main() -> None:
    name, target, seconds, token_id = sys.argv[1:]
    ended = asyncio.run(attack(ATTACKS[name], target, float(seconds), token_id))
    print(json.dumps(ended), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
