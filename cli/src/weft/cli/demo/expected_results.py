"""The expected results, by direct computation: the same servicer, called as a function.

`python -m weft.cli.demo.expected_results LIST SHARE SHARES OUT` computes every SHARES-th file of the list and writes one
JSON line a file: its name and the digest of its response.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weft.cli.demo.corpus import SourceFile
from weft.cli.demo.demo_display import DemoDisplay
from weft.cli.process.children import Children

_POLL_S = 0.1


def digest(response: bytes) -> str:
    """The digest of a response."""
    return hashlib.sha256(response).hexdigest()


async def compute(children: Children, files: Sequence[SourceFile], display: DemoDisplay) -> dict[str, str]:
    """The digest of each file's response, computed by one process for each core."""
    shares = os.cpu_count() or 1
    listed = children.folder / "files.json"
    listed.write_text(json.dumps([[file.name, str(file.path)] for file in files]))
    outs = [children.folder / f"direct-{share}.jsonl" for share in range(shares)]
    workers = [
        children.python(
            f"direct-{share}",
            "-m",
            "weft.cli.demo.expected_results",
            str(listed),
            str(share),
            str(shares),
            str(out),
        )
        for share, out in enumerate(outs)
    ]
    display.say(f"comparing with a direct computation of all {len(files):,} files")
    display.start_bar("checking", len(files))
    while not all(worker.finished() for worker in workers):
        display.move_bar(sum(out.read_bytes().count(b"\n") for out in outs if out.exists()))
        await asyncio.sleep(_POLL_S)
    return dict(json.loads(line) for out in outs for line in out.read_text().splitlines())


def work(files: Sequence[tuple[str, str]], out: Path) -> None:
    from corpus.v1 import corpus_pb2
    from examples.corpus.corpus_service import CorpusService

    servicer = CorpusService()
    # Analyze uses its context only to refuse a request without a name, and every request has one.
    no_context: Any = None
    with out.open("w", buffering=1) as lines:
        for name, path in files:
            request = corpus_pb2.AnalyzeRequest(file_name=name, source=Path(path).read_bytes())
            response = servicer.Analyze(request, no_context)
            lines.write(json.dumps([name, digest(response.SerializeToString())]) + "\n")


if __name__ == "__main__":
    listed, share, shares, target = sys.argv[1:]
    work(json.loads(Path(listed).read_text())[int(share) :: int(shares)], Path(target))
