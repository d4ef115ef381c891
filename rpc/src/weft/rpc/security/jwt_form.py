"""The form of JSON web tokens, which outside issuers make. Who trusts them verifies them; this module tells them from other texts."""

from __future__ import annotations

import re

# Of one token. gRPC takes no more in a call's metadata by default.
MAX_CHARS = 8192
# The first part is base64 of a JSON object: `{"` is always `eyJ`.
_FORM = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def is_jwt(text: str) -> bool:
    """Whether a text has the form of a signed JSON web token."""
    return text.startswith("eyJ") and len(text) <= MAX_CHARS and _FORM.fullmatch(text) is not None
