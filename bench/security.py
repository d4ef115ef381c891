"""What mTLS and tokens cost: `python bench/security.py [--rounds N] [--tasks N] [--calls N]`.

Meshes of a coordinator (embedded store, `process`) and two agents work in turn:

    off     all connections are plain, on loopback
    mtls    each hop uses TLS, and both of its ends show certificates
    tokens  connections are plain, and each caller shows a token
    sent    as off, but callers send a metadata entry of a token's size: what is left between this and tokens is the check

First single calls of a stock client, one to each mesh in turn; then bursts of tasks. Printed are the median latency, and the medians of
the rounds with the quartiles: tasks/s, and CPU time a task of the coordinator and of the agents. With `--null`, "mtls" is a second
plain mesh: what comes out is noise.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import uvloop
from google.protobuf.wrappers_pb2 import BytesValue
from variants import AGENTS, bursts, show, single_calls, variant

from weft.cli.bench.bench_subject import METHOD, PAYLOAD
from weft.cli.process.children import Children
from weft.client import Tls
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.security.certificates import Names, issue, new_authority
from weft.rpc.security.channel_credentials import channel_security
from weft.rpc.security.token_metadata import TOKEN_KEY

_TOKEN_BYTES = 66


def certificates(folder: Path, names: tuple[str, ...]) -> None:
    """Write an authority and a certificate for each name."""
    now = datetime.now(UTC)
    authority = new_authority("bench", now)
    (folder / "ca.pem").write_bytes(authority.certificate)
    for name in names:
        made = issue(authority, Names(name, dns=[name], ips=["127.0.0.1"]), now)
        (folder / f"{name}.pem").write_bytes(made.certificate)
        key = folder / f"{name}-key.pem"
        key.touch(0o600)
        key.write_bytes(made.key)


def tls_of(folder: Path, name: str) -> Tls:
    ca = folder / "ca.pem"
    return Tls(ca=ca, cert=folder / f"{name}.pem", key=folder / f"{name}-key.pem", client_ca=ca)


def tls_variables(folder: Path, process: str) -> Mapping[str, str]:
    own = tls_of(folder, process)
    return {
        "WEFT_TLS_CA": str(own.ca),
        "WEFT_TLS_CERT": str(own.cert),
        "WEFT_TLS_KEY": str(own.key),
        "WEFT_TLS_CLIENT_CA": str(own.client_ca),
    }


def token_variables(token: Path, process: str) -> Mapping[str, str]:
    """The coordinator makes the token, and the agents show it."""
    if process == "coordinator":
        return {"WEFT_TOKENS": "on", "WEFT_OPERATOR_TOKEN_FILE": str(token)}
    return {"WEFT_TOKEN_FILE": str(token)}


@asynccontextmanager
async def stock(target: str, tls: Tls | None, token: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """A call as a stock client makes it."""
    metadata = ((TOKEN_KEY, token),) if token else None
    route = Route(security=channel_security(tls))
    async with dial(target, client_options(own_connection=True), route) as channel:
        callee = channel.unary_unary(
            f"/{METHOD}",
            request_serializer=BytesValue.SerializeToString,
            response_deserializer=BytesValue.FromString,
        )
        yield partial(callee, PAYLOAD, metadata=metadata, timeout=30)


async def run(folder: Path, rounds: int, tasks: int, count: int, *, null: bool) -> None:
    certificates(folder, ("coordinator", "caller", *(f"agent-{number}" for number in range(AGENTS))))
    token = folder / "operator.token"
    tls = None if null else tls_of(folder, "caller")
    with Children(folder) as children:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            plain = await enter(variant(children, "off", lambda _: {}))
            secured = await enter(
                variant(children, "mtls", (lambda _: {}) if null else partial(tls_variables, folder), tls=tls)
            )
            checked = await enter(variant(children, "tokens", partial(token_variables, token), token=token))
            # A mesh of its own: one that is called twice as often answers sooner.
            sent = await enter(variant(children, "sent", lambda _: {}))
            variants = [plain, secured, checked, sent]
            calls = [
                await enter(stock(plain.target, None, "")),
                await enter(stock(secured.target, tls, "")),
                await enter(stock(checked.target, None, token.read_text().strip())),
                await enter(stock(sent.target, None, "x" * _TOKEN_BYTES)),
            ]
            for call in calls:
                for _ in range(200):
                    await call()
            await single_calls(variants, calls, count)
            for each in variants:
                await each.burst(4000)
            # What callers of tasks send is part of their stream's head.
            await bursts(variants[:-1], rounds, tasks)
    show(variants, rounds, tasks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=6000)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--null", action="store_true", help="measure the noise")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        uvloop.run(run(Path(name), args.rounds, args.tasks, args.calls, null=args.null))
