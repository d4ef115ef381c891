"""`weft certs pin` and `weft certs join`: how a mesh that makes certificates by itself is joined."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import json_text, line

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.rpc.membership.certificate_client import Issued

_TIMEOUT_S = 30.0


@examples("weft certs pin", "weft certs pin --target coordinator.example:7700")
def pin(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Print the variables by which others join the mesh, besides a token.

    The coordinator makes certificates by itself (--ca auto). Nothing of this is secret.
    """
    found = join_variables(target)
    if as_json:
        line(json_text(found))
    else:
        for name, value in found.items():
            line(f"{name}={value}")


@examples("weft certs join tls --target coordinator.example:7700 --tls-pin sha256:… --token-file shop.token")
def join(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go; it is made if missing.")],
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Get a certificate by pin and token, into files.

    They are for programs that are not weft's. ca.pem verifies others, by the name coordinator.weft for coordinators. client.pem and client-key.pem are shown to them. Nobody
    renews these files: run the command again in time.
    """
    from weft.cli.certs.certificate_folder import write_file

    issued = _issued(target)
    files = {
        "ca.pem": (issued.authorities, 0o644),
        "client-key.pem": (issued.key, 0o600),
        "client.pem": (issued.certificate, 0o644),
    }
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, (content, mode) in files.items():
        write_file(folder / name, content, mode)
    places = [str(folder / name) for name in files]
    if as_json:
        line(json_text(places))
    else:
        for place in places:
            line(place)


@examples("weft certs rotate", "weft certs rotate --overlap-s 0")
def rotate(
    overlap_s: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=0,
            help="How long each of the two steps takes; 0: no step, all must join again.",
            show_default="as long as certificates are valid",
        ),
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Change the authority of a mesh (--ca auto) while it runs.

    First everybody learns to trust the next one, as certificates are renewed. Then it signs, and both pins are good. In the end it is the only one, and its pin
    is. Give that one to whoever joins from the second step on. Repeat the command to see how far it is.
    """
    from weft.cli.process.command_runner import run
    from weft.rpc.times import duration
    from weft.v1.certificate_pb2 import RotateAuthorityRequest
    from weft.v1.certificate_pb2_grpc import CertificateServiceStub

    request = RotateAuthorityRequest(overlap=None if overlap_s is None else duration(overlap_s))

    async def ask(mesh: Mesh) -> Any:
        return await CertificateServiceStub(mesh.channel()).RotateAuthority(request, timeout=_TIMEOUT_S)

    answer = run(target, ask)
    change = answer.change
    signs, ends = (each.ToDatetime(UTC).astimezone() for each in (change.sign_time, change.end_time))
    found = {
        "pin": change.pin,
        "next_pin": change.next_pin,
        "signs_at": signs.isoformat(),
        "ends_at": ends.isoformat(),
        "existed": answer.existed,
    }
    if as_json:
        line(json_text(found))
        return
    line(f"the present pin, good until {ends:%Y-%m-%d %H:%M:%S %z}: {change.pin}")
    line(f"the next pin, good from {signs:%Y-%m-%d %H:%M:%S %z} on: {change.next_pin}")


def _issued(target: str) -> Issued:
    """A new certificate by pin and token.

    Raises:
        Failure: there is none of them.
    """
    from weft.cli.terminal.failure import Failure
    from weft.rpc.membership.membership import Membership
    from weft.rpc.network.targets import parse
    from weft.rpc.security.tls import chosen
    from weft.rpc.security.token_source import token_source

    tls, token = chosen(None), token_source()
    if tls is None or not tls.pin:
        raise Failure("there is no pin: set WEFT_TLS_PIN or --tls-pin (`weft certs pin` prints it)", status=2)
    if token is None:
        raise Failure("there is no token: set WEFT_TOKEN, or WEFT_TOKEN_FILE or --token-file", status=2)
    return Membership(tls, parse(target), token, "").issued_by_token()


def join_variables(target: str) -> dict[str, str]:
    """What others need besides a token, by the names of variables."""
    from weft.cli.process.command_runner import run
    from weft.rpc.network.targets import parse
    from weft.rpc.registries.resolved_targets import resolved
    from weft.v1.certificate_pb2 import GetAuthorityRequest
    from weft.v1.certificate_pb2_grpc import CertificateServiceStub

    async def ask(mesh: Mesh) -> Any:
        stub = CertificateServiceStub(mesh.channel())
        return await stub.GetAuthority(GetAuthorityRequest(), timeout=_TIMEOUT_S)

    answer, targets = run(target, ask), parse(target)
    places = ",".join(f"{each.rpartition(':')[0]}:{answer.join_port}" for each in resolved(targets))
    return {"WEFT_TARGET": ",".join(targets), "WEFT_TLS_PIN": answer.pin, "WEFT_TLS_JOIN": places}
