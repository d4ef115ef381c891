"""Runs targets for long, each in a process of its own: `python -m tests.fuzz [--seconds N] [--folder F] [NAME …]`, or `make fuzz`.

Prints a line a target, and fails if one has a finding. Keep a finding as a file in tests/fuzz/findings/NAME, mend the parser, and run
tests/fuzz/test_targets.py, which tries all of them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.table import names

_ROOT = Path(__file__).resolve().parents[2]
_PATH = os.pathsep.join([str(_ROOT / "tests/support/gen"), os.environ.get("PYTHONPATH", "")])
_TRIED = re.compile(rb"number_of_executed_units: (\d+)")
# A worker that does not end by itself.
_GRACE_S = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument(
        "--folder", type=Path, default=_ROOT / ".fuzz", help="of corpus and findings (default: .fuzz)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets (default: all)")
    given = parser.parse_args()
    known = names()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(known)}")
    faulty = [name for name in given.names or known if not _run(name, given.seconds, given.folder)]
    print(
        f"{len(faulty)} of {len(given.names or known)} targets have findings"
        + (f": {', '.join(faulty)}" if faulty else "")
    )
    return 1 if faulty else 0


def _run(name: str, seconds: int, folder: Path) -> bool:
    """Whether a target has no finding."""
    command = [sys.executable, "-m", "tests.fuzz.worker", name, str(seconds), str(folder)]
    log = folder / f"{name}.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        try:
            code = subprocess.run(
                command,
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": _PATH},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=seconds + _GRACE_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    tried = _TRIED.findall(log.read_bytes())
    told = f"{int(tried[-1]):,} inputs" if tried else "no figures"
    print(f"{name:24} {told:>20}  {'ok' if code == 0 else f'FINDING, exit code {code}: {log}'}", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
