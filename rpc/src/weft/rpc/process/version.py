"""The version of weft that is installed.

`weft` is a namespace of several packages without an `__init__.py` of its own, so nothing can run when it alone is imported.
Whichever of its packages comes first gives it `weft.__version__`.
"""

from __future__ import annotations

import sys
from importlib import metadata


def _installed() -> str:
    try:
        return metadata.version("weft")
    except metadata.PackageNotFoundError:
        # Run from its sources, without an installation.
        return "0+unknown"


VERSION = _installed()
sys.modules["weft"].__version__ = VERSION  # type: ignore[attr-defined]
