"""`weft payloads`: makes keys of payloads, says which one encrypts, and sweeps their store."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import line

_HELP = with_examples(
    "Keys of encrypted payloads, and the store of large ones.",
    "weft payloads key --file payload-keys",
    "weft payloads use 2026-12 --file payload-keys",
    "weft payloads sweep --store s3://bucket/payloads",
)
app = typer.Typer(name="payloads", help=_HELP, no_args_is_help=True, **SETTINGS)

KeyFile = Annotated[
    Path,
    typer.Option(
        "--file", envvar="WEFT_PAYLOAD_KEYS_FILE", metavar="FILE", help="The key file.", show_default=False
    ),
]


@app.command()
@examples("weft payloads key --file payload-keys", "weft payloads key 2026-12 --file payload-keys")
def key(
    file: KeyFile,
    key_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="The key's id. [default: today's date]", show_default=False)
    ] = "",
) -> None:
    """Add a new key to a key file, as the last one: it decrypts. In a new file it is the first one, which encrypts.

    Give the file to all clients and agents before `weft payloads use` lets the key encrypt. A missing file is made, for its user alone.
    """
    from weft.rpc.errors import InvalidArgument
    from weft.rpc.payloads.key_file import keys_of, new_line

    key_id = key_id or f"{datetime.now(UTC):%Y-%m-%d}"
    text = _text(file) if file.exists() else ""
    try:
        text = f"{text.rstrip()}\n{new_line(key_id)}\n".lstrip("\n")
        keys_of(text, str(file))
    except InvalidArgument as error:
        raise Failure(error.message, status=2) from None
    _replace(file, text)
    line(f"{file}: added the key {key_id}")


@app.command()
@examples("weft payloads use 2026-12 --file payload-keys")
def use(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a key in the file.")],
    file: KeyFile,
) -> None:
    """Let a key of a key file encrypt: it becomes the first one. The others decrypt as before."""
    from weft.rpc.errors import InvalidArgument
    from weft.rpc.payloads.key_file import keys_of

    text = _text(file)
    try:
        known = keys_of(text, str(file))
    except InvalidArgument as error:
        raise Failure(error.message, status=2) from None
    if key_id not in known:
        raise Failure(f"{file} has no key {key_id}; it has {', '.join(known)}", status=2)
    lines = text.splitlines()
    own = next(each for each in lines if each.split()[:1] == [key_id])
    rest = [each for each in lines if each is not own]
    # Comments before the first key stay at the top.
    top = next(at for at, each in enumerate([*rest, "end"]) if each.split() and not each.startswith("#"))
    _replace(file, "\n".join([*rest[:top], own, *rest[top:]]) + "\n")
    line(f"{file}: {key_id} encrypts")


@app.command()
@examples(
    "weft payloads sweep --store /var/lib/weft/payloads", "weft payloads sweep --store s3://bucket/payloads"
)
def sweep(
    store: Annotated[
        str,
        typer.Option(
            envvar="WEFT_PAYLOAD_STORE",
            metavar="FOLDER|URL",
            help="The store of large payloads.",
            show_default=False,
        ),
    ],
) -> None:
    """Delete the large payloads whose time in their store has passed.

    A coordinator that knows the store does the same, every hour.
    """
    from weft.rpc.payloads.payload_store import NotStored, PayloadStore
    from weft.rpc.process.extras import require

    require("payloads")
    try:
        deleted = PayloadStore(store).sweep(time.time())
    except NotStored as error:
        raise Failure(str(error)) from None
    line(f"deleted {deleted} {'payload' if deleted == 1 else 'payloads'}")


def _text(file: Path) -> str:
    from weft.cli.terminal.failure import system_reason

    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = system_reason(error) if isinstance(error, OSError) else "it is not text"
        raise Failure(f"cannot read {file}: {why}", status=2) from None


def _replace(file: Path, text: str) -> None:
    """Write a file as a whole, for its user alone: whoever reads it meanwhile gets the old one or the new one."""
    from weft.cli.terminal.failure import system_reason

    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:  # noqa: PTH123
            opened.write(text)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(f"cannot write {file}: {system_reason(error)}", status=2) from None
