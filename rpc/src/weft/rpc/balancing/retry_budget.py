"""The retry budget (the throttle of gRFC A6): retries stop when too many calls fail, so that they do not add to an overload. Pure."""

from __future__ import annotations

MAX_TOKENS = 10.0
TOKEN_RATIO = 0.1


class RetryBudget:
    """A failure takes a token; a success returns a part of one. Retries are allowed while more than half of the tokens are there."""

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
