"""Reads the header Retry-After of HTTP: seconds, or a date. Pure but for the date, which is compared with this machine's clock."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """When to come again, in seconds; None: the server does not say, or not in a way that can be read."""
    for header, share in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(header, "").strip()
        try:
            found = float(text) / share
        except ValueError:
            continue
        if math.isfinite(found) and found >= 0:
            return found
    return _from_date(headers.get("retry-after", ""))


def _from_date(text: str) -> float | None:
    try:
        parsed = email.utils.parsedate_tz(text)
        return None if parsed is None else max(0.0, email.utils.mktime_tz(parsed) - time.time())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
