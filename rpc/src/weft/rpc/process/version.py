"""The version of weft that is installed.

`weft` is a namespace of several packages without an `__init__.py`, so no code runs when it alone is imported. The first of
its packages that is imported sets `weft.__version__`.
"""

from __future__ import annotations

import sys
from importlib import metadata


def _installed() -> str:
    try:
        return metadata.version("weft")
    except metadata.PackageNotFoundError:
        # weft runs from its sources and is not installed.
        return "0+unknown"


VERSION = _installed()
sys.modules["weft"].__version__ = VERSION  # type: ignore[attr-defined]
