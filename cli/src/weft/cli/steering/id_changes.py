"""The same change for each of several ids: all are tried, each is printed, and those that failed are named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import typer

from weft.cli.terminal.output import json_text, line, remark

Changed = TypeVar("Changed")


async def change_each(
    ids: Sequence[str],
    change: Callable[[str], Awaitable[Changed]],
    show: Callable[[Changed], tuple[dict[str, Any], str]],
    *,
    as_json: bool,
) -> tuple[list[Changed], int]:
    """Change each and print it, whatever becomes of the others; what was changed, and how many could not be.

    Args:
        show: a changed one as JSON and as a line.

    Raises:
        Unreachable: the coordinator is away, for all of them.
    """
    from weft.cli.rendering.documents import error_document
    from weft.client import Unreachable, WeftError

    changed: list[Changed] = []
    failed = 0
    # Twice the same is asked once.
    for each in dict.fromkeys(ids):
        try:
            done = await change(each)
        except Unreachable:
            raise
        except WeftError as error:
            failed += 1
            remark(f"{each}: {error.code.name}: {error.message}")
            if as_json:
                line(json_text({"id": each, **error_document(error)}))
            continue
        changed.append(done)
        document, text = show(done)
        line(json_text(document) if as_json else text)
    return changed, failed


def end(failed: int, count: int) -> None:
    """Exit status 1 when some failed; with several, also how many."""
    if failed and count > 1:
        remark(f"{failed} of {count} failed")
    if failed:
        raise typer.Exit(1)
