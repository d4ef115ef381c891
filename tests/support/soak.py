"""Marks tests that take longer than CI has time for: `make soak` runs them."""

from __future__ import annotations

import os

import pytest

SOAKS = bool(os.environ.get("TEST_SOAK"))
soak = pytest.mark.skipif(not SOAKS, reason="a soak: make soak runs it")
# A store's case that only soaks try.
EITHER_STORE = ["embedded", pytest.param("redis", marks=soak)]
