"""The retry budget (gRFC A6's throttle): retries stop when too much fails, so that they cannot be what keeps it failing. Pure."""

from __future__ import annotations

MAX_TOKENS = 10.0
TOKEN_RATIO = 0.1


class RetryBudget:
    """Each failure takes a token, each success gives a part of one back; retries are for the upper half."""

    __slots__ = ("_max_tokens", "_token_ratio", "tokens")

    def __init__(self, max_tokens: float = MAX_TOKENS, token_ratio: float = TOKEN_RATIO) -> None:
        self._max_tokens = max_tokens
        self._token_ratio = token_ratio
        self.tokens = max_tokens

    def succeeded(self) -> None:
        if self.tokens < self._max_tokens:
            self.tokens = min(self._max_tokens, self.tokens + self._token_ratio)

    def failed(self) -> None:
        self.tokens = max(0.0, self.tokens - 1.0)

    @property
    def allows(self) -> bool:
        return self.tokens > self._max_tokens / 2.0
