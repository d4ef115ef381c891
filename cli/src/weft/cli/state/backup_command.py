"""`weft backup`: copies the embedded store of a coordinator, while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import Json
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line, remark
from weft.rpc.process.extras import require


@examples("weft backup backups/2026-12-01", "weft backup /backup/weft-1 --store /var/lib/weft/weft.db")
def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the copies.")],
    store: Annotated[
        str,
        typer.Option(
            envvar="WEFT_STORE",
            metavar="PATH",
            help="The store's file, as coordinators take it.",
            show_default=True,
        ),
    ] = "weft.db",
    as_json: Json = False,
) -> None:
    """Copy the embedded store of a coordinator on this machine, also while it runs, and those of its namespaces.

    All that was acknowledged before is in the copy. To restore it, start a coordinator on it: weft coordinator --store FOLDER/weft.db
    """
    require("coordinator")
    if "://" in store:
        raise Failure(
            "a Redis store is backed up by Redis itself (BGSAVE, and a copy of its files)",
            "docs/how-to/move-and-back-up.md says how",
            status=2,
        )
    from weft.coordinator.store.embedded.store_backup import FILE
    from weft.coordinator.store.embedded.store_backup import backup as copies
    from weft.coordinator.store.open_errors import StoreError

    try:
        for namespace, size_bytes in copies(Path(store), folder):
            if as_json:
                line(json_text({"namespace": namespace, "size_bytes": size_bytes}))
            else:
                what = f"namespace {namespace}" if namespace else store
                line(f"{what}: {size_bytes / 1e6:.1f} MB copied")
    except StoreError as error:
        raise Failure(str(error), status=2) from None
    remark(f"to restore it: weft coordinator --store {folder / FILE}")
