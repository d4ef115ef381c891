"""How this process codes payloads: by what its program says, or by its environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from weft.rpc import refusals
from weft.rpc.payloads.payload_options import DEFAULT_KEEP_S, DEFAULT_STORE_FROM_BYTES, Payloads

if TYPE_CHECKING:
    from weft.rpc.payloads.payload_coder import PayloadCoder

_PREFIX = "WEFT_PAYLOAD_"


def payload_coder(given: Payloads | bool | None) -> PayloadCoder | None:
    """The coder of these settings; None: payloads are as they are.

    Args:
        given: None, or True: by the environment. False: none.

    Raises:
        InvalidArgument: a setting cannot be used.
    """
    options = from_environment() if given is None or given is True else given or None
    if options is None:
        return None
    # Programs that code nothing do without these modules.
    from weft.rpc.payloads.payload_coder import coder_of

    return coder_of(options)


def from_environment() -> Payloads | None:
    """The settings of the variables WEFT_PAYLOAD_KEYS_FILE, …_COMPRESSION, …_STORE and …_CODEC; None: none of them is set.

    Raises:
        InvalidArgument: a variable has no number where one must be, or coded payloads are required and cannot be read.
    """
    given = {
        name: value
        for name in ("keys_file", "compression", "store", "codec")
        if (value := os.environ.get(f"{_PREFIX}{name.upper()}", ""))
    }
    required = os.environ.get(f"{_PREFIX}REQUIRED", "").lower() in ("1", "true", "yes", "on")
    if not given and required:
        raise refusals.invalid_field(
            f"{_PREFIX}REQUIRED is set, and nothing could be read: set {_PREFIX}KEYS_FILE as well",
            field="payload_required",
        )
    if not given:
        return None
    return Payloads(
        **given,
        store_from_bytes=_whole("STORE_FROM_BYTES", DEFAULT_STORE_FROM_BYTES),
        keep_s=_number("KEEP_S", DEFAULT_KEEP_S),
        max_bytes=_whole("MAX_BYTES", 0),
        required=required,
    )


def _number(name: str, default: float) -> float:
    text = os.environ.get(f"{_PREFIX}{name}")
    try:
        return float(text) if text else default
    except ValueError:
        raise refusals.invalid_field(
            f"{_PREFIX}{name} is {text!r}; it must be a number", field=f"payload_{name.lower()}"
        ) from None


def _whole(name: str, default: int) -> int:
    return int(_number(name, default))
