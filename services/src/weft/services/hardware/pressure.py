"""How long tasks have waited for cores, memory and disks: the kernel's files of pressure (PSI, Linux 4.20 and newer).

some avg10=1.53 avg60=0.87 avg300=0.38 total=1234567
full avg10=0.00 avg60=0.00 avg300=0.00 total=12345
"""

from __future__ import annotations

import math
from pathlib import Path

from weft.services.hardware.v1 import hardware_pb2

FOLDER = Path("/proc/pressure")
_MOST_BYTES = 4096


def read_pressure(of: str, folder: Path = FOLDER) -> hardware_pb2.Pressure:
    """The pressure of "cpu", "memory" or "io".

    Raises:
        OSError: the kernel does not tell.
        ValueError: the file has another form.
    """
    with (folder / of).open("rb") as file:
        return parse_pressure(file.read(_MOST_BYTES).decode("ascii"))


def parse_pressure(text: str) -> hardware_pb2.Pressure:
    """The pressure in the text of a file.

    Raises:
        ValueError: it has another form.
    """
    found: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        for pair in pairs:
            name, _, value = pair.partition("=")
            found[kind, name] = _ratio(value) if name.startswith("avg") else 0.0
    if ("some", "avg10") not in found or ("some", "avg60") not in found:
        raise ValueError("a file of pressure has averages of 10 and of 60 seconds")
    return hardware_pb2.Pressure(
        some_ratio_10s=found["some", "avg10"],
        some_ratio_60s=found["some", "avg60"],
        # Of cores, older kernels tell `some` alone.
        full_ratio_10s=found.get(("full", "avg10"), 0.0),
        full_ratio_60s=found.get(("full", "avg60"), 0.0),
    )


def _ratio(percent: str) -> float:
    value = float(percent) / 100
    if not math.isfinite(value):
        raise ValueError(f"{percent} is no percentage")
    return min(1.0, max(0.0, value))
