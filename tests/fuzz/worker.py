"""Runs one target for a while: `python -m tests.fuzz.worker NAME SECONDS FOLDER`.

With atheris inputs are chosen by what code they reach (coverage); without it Hypothesis changes the seeds at random. Inputs of interest
are kept in FOLDER/corpus/NAME, and the first finding in FOLDER/findings/NAME, also one that ends the process: what is tried is
written before.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import mmap
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of memory. An input that needs more is a finding.
MAX_MB = 2048
# Seconds for one input, after which the engine gives it up.
HANGS_S = 25


def main() -> None:
    name, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    corpus, findings = folder / "corpus" / name, folder / "findings" / name
    for each in (corpus, findings):
        each.mkdir(parents=True, exist_ok=True)
    # What parsers log of bad input is not of interest.
    logging.disable(logging.CRITICAL)
    if importlib.util.find_spec("atheris") is not None:
        _by_coverage(name, seconds, corpus, findings)
    else:
        _at_random(name, seconds, findings)


def _by_coverage(name: str, seconds: int, corpus: Path, findings: Path) -> None:
    import atheris

    # Before it is imported, so that each branch of weft is seen.
    with atheris.instrument_imports(include=["weft"], enable_loader_override=False):
        target = _target(name)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={target.max_bytes}",
        f"-rss_limit_mb={MAX_MB}",
        f"-timeout={HANGS_S}",
        f"-artifact_prefix={findings}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], _timed(target))
    atheris.Fuzz()


def _at_random(name: str, seconds: int, findings: Path) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    from tests.fuzz.inputs import inputs

    target = _target(name)
    ends_at, tried = time.monotonic() + seconds, 0
    run = _timed(target)

    with _kept(findings / "last", target.max_bytes + 4096) as keep:

        @settings(
            max_examples=10_000,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(inputs(target))
        def some(data: bytes) -> None:
            nonlocal tried
            if time.monotonic() < ends_at:
                tried += 1
                keep(data)
                run(data)

        while time.monotonic() < ends_at:
            some()
    (findings / "last").unlink()
    print(f"stat::number_of_executed_units: {tried}")


def _target(name: str) -> Any:
    from tests.fuzz.table import table

    return table()[name]


def _timed(target: Any) -> Callable[[bytes], None]:
    from tests.fuzz.target import MAX_S

    def run(data: bytes) -> None:
        began_s = time.thread_time()
        target(data)
        took_s = time.thread_time() - began_s
        assert took_s < MAX_S, f"{len(data)} bytes took {took_s:.1f} s"

    return run


@contextlib.contextmanager
def _kept(path: Path, size: int) -> Any:
    """Writes an input where it is found when the process has ended at it."""
    path.write_bytes(bytes(size))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as place:

        def keep(data: bytes) -> None:
            place[: len(data)] = data
            place[len(data) :] = bytes(size - len(data))

        yield keep


if __name__ == "__main__":
    main()
