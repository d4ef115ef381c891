"""`weft certs`: makes, renews and shows certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.certs import joining_commands
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import Json
from weft.cli.terminal.output import StyledText, json_text, line
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.cli.certs.certificate_folder import CertificateFolder
    from weft.rpc.security.certificates import CertificateFacts

_HELP = with_examples(
    "Make, renew and show certificates: an authority (CA) of one's own in a folder. Or join a mesh that makes its certificates by"
    " itself (weft coordinator --ca auto).",
    "weft certs init pki",
    "weft certs issue pki coordinator --dns coordinator.example --ip 10.0.0.1",
    "weft certs show pki",
)
app = typer.Typer(name="certs", help=_HELP, no_args_is_help=True, **SETTINGS)

app.command()(joining_commands.pin)
app.command()(joining_commands.join)
app.command()(joining_commands.rotate)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the authority.")]
_COLUMNS = (
    Column("file"),
    Column("for"),
    Column("ends"),
    Column("days left", right=True),
    Column("signed by", spare=1),
    Column("names", below=True),
)


@app.command()
@examples("weft certs init pki", "weft certs init /etc/weft/pki --name 'ACME mesh'")
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(metavar="NAME", help="The authority's name.")] = "weft",
    days: Annotated[float, typer.Option(metavar="N", min=1, help="It is valid for so many days.")] = 3650.0,
) -> None:
    """Make an authority in a folder.

    ca.pem is what others trust, and everybody may have it. ca-key.pem signs certificates: keep it. A missing folder is made.
    """
    made = _folder(folder).begin(name, datetime.now(UTC), days)
    line(f"{folder / 'ca.pem'}: authority {made.names.common}, until {made.ends:%Y-%m-%d}")


@app.command()
@examples(
    "weft certs issue pki coordinator --dns coordinator.example --dns localhost --ip 127.0.0.1",
    "weft certs issue pki worker-1 --spiffe spiffe://mesh/agent/worker-1 --days 30",
)
def issue(
    folder: Folder,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the process; the files are NAME.pem and NAME-key.pem.")
    ],
    dns: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A host name of its ports; repeatable. [default: NAME]"),
    ] = None,
    ip: Annotated[
        list[str] | None, typer.Option(metavar="IP", help="An IP address of its ports; repeatable.")
    ] = None,
    spiffe: Annotated[
        str, typer.Option(metavar="URI", help="Its identity, such as spiffe://mesh/agent/worker-1.")
    ] = "",
    days: Annotated[float, typer.Option(metavar="N", min=0.01, help="It is valid for so many days.")] = 90.0,
) -> None:
    """Make a certificate and its key for one process. Nothing is overwritten."""
    if spiffe and not spiffe.startswith("spiffe://"):
        raise typer.BadParameter(f"{spiffe!r} does not begin with spiffe://", param_hint="--spiffe")
    folder_of = _folder(folder)
    from weft.rpc.security.certificates import Names

    # A name by which it can be verified, whatever address it has.
    hosts = list(dict.fromkeys(dns or [name]))
    names = Names(name, hosts, ip or [], [spiffe] if spiffe else [])
    made = folder_of.issue(name, names, datetime.now(UTC), days)
    line(f"{folder / f'{name}.pem'}: {_all_names(made)}, until {made.ends:%Y-%m-%d}")


@app.command()
@examples(
    "weft certs renew pki", "weft certs renew pki worker-1 worker-2", "weft certs renew pki --within 30"
)
def renew(
    folder: Folder,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which certificates. [default: all]")
    ] = None,
    within: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Only those that end within so many days.")
    ] = None,
) -> None:
    """Replace certificates by new ones.

    Names and lifetimes stay, keys are new. Processes that use them read them without a restart.
    """
    folder_of, now = _folder(folder), datetime.now(UTC)
    from weft.cli.certs.certificate_folder import shown

    for name in names or folder_of.names():
        left = (shown(folder / f"{name}.pem").ends - now).total_seconds() / 86400
        if within is not None and left > within:
            line(f"{folder / f'{name}.pem'}: {left:.0f} days left")
            continue
        made = folder_of.renew(name, now)
        line(f"{folder / f'{name}.pem'}: renewed, until {made.ends:%Y-%m-%d}")


@app.command()
@examples("weft certs show pki", "weft certs show pki/coordinator.pem --json")
def show(
    place: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="The folder, or one certificate.")],
    as_json: Json = False,
) -> None:
    """Show certificates: for whom, by whom, and until when."""
    folder_of = _folder(place)
    from weft.cli.certs.certificate_folder import shown

    found = [(place, shown(place))] if place.is_file() else folder_of.show()
    now = datetime.now(UTC)
    if as_json:
        line(json_text([_document(path, each, now) for path, each in found]))
    else:
        print_rows(_COLUMNS, [_row(path, each, now) for path, each in found], "no certificates")


def _folder(path: Path) -> CertificateFolder:
    from weft.cli.certs.certificate_folder import CertificateFolder

    return CertificateFolder(path)


def _row(path: Path, each: CertificateFacts, now: datetime) -> list[StyledText]:
    return [
        path.name,
        each.names.common,
        f"{each.ends:%Y-%m-%d}",
        f"{_days_left(each, now):.0f}",
        each.issuer,
        _all_names(each),
    ]


def _document(path: Path, each: CertificateFacts, now: datetime) -> dict[str, Any]:
    return {
        "file": str(path),
        "name": each.names.common,
        "dns": list(each.names.dns),
        "ips": list(each.names.ips),
        "uris": list(each.names.uris),
        "issuer": each.issuer,
        "authority": each.authority,
        "begins": each.begins.isoformat(),
        "ends": each.ends.isoformat(),
        "days_left": round(_days_left(each, now), 2),
        "signature": each.signature,
        "fingerprint_sha256": each.fingerprint,
    }


def _days_left(each: CertificateFacts, now: datetime) -> float:
    return (each.ends - now).total_seconds() / 86400


def _all_names(each: CertificateFacts) -> str:
    if each.authority:
        return "authority"
    return ", ".join((*each.names.dns, *each.names.ips, *each.names.uris)) or each.names.common
