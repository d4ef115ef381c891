"""Sizes and shares as people write them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(size_bytes: float) -> str:
    """Such as "1.5 GiB"."""
    value, power = float(size_bytes), 0
    while abs(value) >= 1024 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.{0 if power == 0 or value >= 100 else 1}f} {_UNITS[power]}"


def percent(ratio: float) -> str:
    """Such as "97 %"."""
    return f"{ratio * 100:.0f} %"
