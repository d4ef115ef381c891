"""What checks by a contract's rules have cost: one that took long is the last of its size. Pure.

What a rule costs cannot be told from its text: a loop over a list may look at a long text each time. So it is learned: after a check that took long, messages
of half its size and more are refused, for all methods of the contract. A contract that is made to hold a coordinator up does so once, then half as long, and then no more.
"""

from __future__ import annotations

# CPU time of one check, of this thread alone: a busy machine does not count.
COSTLY_S = 0.25
# Messages of fewer bytes are always checked, and not timed: most are.
LEAST_BYTES = 4096


class LearnedCost:
    """What is known of the rules of one contract."""

    def __init__(self) -> None:
        # Messages of so many bytes and more are refused, because a check took so long; 0: none are.
        self.from_bytes = 0
        self._took_s = 0.0

    def note(self, size_bytes: int, took_s: float) -> None:
        """A message was checked."""
        if took_s > COSTLY_S:
            self.from_bytes, self._took_s = max(LEAST_BYTES, size_bytes // 2), took_s

    def refusal(self, size_bytes: int) -> str:
        """Why a message is refused. Empty: it is not."""
        if not 0 < self.from_bytes <= size_bytes:
            return ""
        return (
            f"a check by the rules of this contract took {self._took_s:.1f} s: messages of {self.from_bytes} bytes and more are refused, and this one has"
            f" {size_bytes}. Make the rules cheaper, or turn them off for the method (check_rules)"
        )
