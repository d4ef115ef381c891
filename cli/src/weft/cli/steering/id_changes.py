"""The same change for each of several ids: some at a time, each result printed, failures counted."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from weft.cli.terminal.output import json_text, line, remark

if TYPE_CHECKING:
    from weft.client import Mesh

Changed = TypeVar("Changed")

# Changes under way at a time.
_CONCURRENCY = 32
_PROGRESS_INTERVAL_S = 2.0


@dataclass(slots=True)
class ChangeCounts:
    """The results of one command's changes.

    Args:
        outdated: ids whose state no longer allowed the change.
    """

    total: int
    done: int = 0
    outdated: int = 0
    failed: int = 0

    def __str__(self) -> str:
        outdated = f", {self.outdated} had changed meanwhile" if self.outdated else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} done{outdated}{failed}"


async def change_each(
    ids: Sequence[str],
    change: Callable[[str], Awaitable[Changed]],
    show: Callable[[Changed], tuple[dict[str, Any], str]],
    *,
    as_json: bool,
    outdated: Collection[type[Exception]] = (),
    sum_up: bool = False,
) -> ChangeCounts:
    """Change each id and print each result in the order of the ids. A failure does not stop the other changes.

    Args:
        show: returns the JSON document and the line of a changed object.
        outdated: errors that say that the object has changed since it was listed; they are counted, not printed.
        sum_up: print the counts in any case, not only if one of several changes failed.

    Raises:
        Unreachable: the coordinator cannot be reached. Changes that were made before are printed.
    """
    from weft.client import Unreachable, WeftError

    async def changed(each: str) -> Changed | WeftError:
        try:
            return await change(each)
        except WeftError as error:
            return error

    # A repeated id is changed once.
    ids = [*dict.fromkeys(ids)]
    counts = ChangeCounts(len(ids))
    told_at = time.monotonic()
    for start in range(0, len(ids), _CONCURRENCY):
        batch = ids[start : start + _CONCURRENCY]
        unreachable: Unreachable | None = None
        for each, result in zip(batch, await asyncio.gather(*map(changed, batch)), strict=True):
            if isinstance(result, Unreachable):
                unreachable = result
            elif isinstance(result, tuple(outdated)):
                counts.outdated += 1
            elif isinstance(result, WeftError):
                counts.failed += 1
                _print_failure(each, result, as_json=as_json)
            else:
                counts.done += 1
                document, text = show(result)
                line(json_text(document) if as_json else text)
        if unreachable is not None:
            raise unreachable
        if sys.stderr.isatty() and time.monotonic() - told_at > _PROGRESS_INTERVAL_S:
            told_at = time.monotonic()
            remark(f"{start + len(batch)} of {len(ids)}")
    if sum_up or (counts.failed and counts.total > 1):
        remark(str(counts))
    return counts


def change_names(
    names: Sequence[str],
    change: Callable[[Mesh, str], Awaitable[Changed]],
    show: Callable[[Changed], tuple[dict[str, Any], str]],
    target: str,
    *,
    as_json: bool,
) -> None:
    """A whole command: connect, and change each. Exit status 1 if one could not be changed."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> int:
        return (await change_each(names, lambda name: change(mesh, name), show, as_json=as_json)).failed

    if run(target, work):
        raise typer.Exit(1)


def _print_failure(each: str, error: Any, *, as_json: bool) -> None:
    from weft.cli.rendering.documents import error_document

    remark(f"{each}: {error.code.name}: {error.message}")
    if as_json:
        line(json_text({"id": each, **error_document(error)}))
