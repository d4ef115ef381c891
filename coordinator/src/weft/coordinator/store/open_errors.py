"""Errors of opening a store. They are shown at start-up: each message says what to do."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used as it is."""


class StoreLocked(StoreError):
    """Another coordinator owns the store."""


class StoreForeign(StoreError):
    """The file is not a store of weft, or is damaged."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of weft."""
