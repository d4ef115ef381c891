"""Follows a policy file: read at the start, and again when it changes. A file that cannot be used leaves the last good one in force."""

from __future__ import annotations

import hashlib
from pathlib import Path

from weft.coordinator.access.access_file import parse_policy, policy_text
from weft.coordinator.access.access_policy import NO_POLICY, AccessPolicy
from weft.coordinator.access.policy_entries import PolicyFault
from weft.coordinator.access.policy_news import PolicyNews, ToldOfPolicy
from weft.rpc import refusals
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)


class PolicySource:
    """The policy in force.

    Args:
        path: None: there is none, and everything is allowed that roles and scopes allow.
        told: told of each other policy that comes into force, and of each state of the file that cannot be used.

    Raises:
        InvalidArgument: the file cannot be used.
    """

    def __init__(self, path: Path | None, told: ToldOfPolicy = lambda _: None) -> None:
        self._path = path
        self._told = told
        self._seen: tuple[int, ...] | None = None
        self.present: AccessPolicy = NO_POLICY
        # Why the file, as it is now, is not in force; empty: it is.
        self.fault = ""
        self._digest = ""
        if path is not None:
            self._seen = _state(path)
            try:
                self._read(path)
            except PolicyFault as fault:
                raise refusals.invalid_field(str(fault), field="policy") from None

    @property
    def on(self) -> bool:
        """Whether there is a policy file."""
        return self._path is not None

    def look(self) -> bool:
        """Read the file again if it has changed. True: another policy is in force."""
        if self._path is None or (state := _state(self._path)) == self._seen:
            return False
        # Before it is read: a wrong file is mentioned once for each of its states.
        self._seen = state
        try:
            changed = self._read(self._path)
        except PolicyFault as fault:
            self.fault = str(fault)
            log.error(  # noqa: TRY400
                "policy.not_read", error=self.fault, effect="the last good policy stays in force"
            )
            self._tell(self._path)
            return False
        log.info("policy.read", file=str(self._path), rules=len(self.present.rules), changed=changed)
        return changed

    def _read(self, path: Path) -> bool:
        """Read the file. True: another policy is in force.

        Raises:
            PolicyFault
        """
        text = policy_text(path)
        policy = parse_policy(text, path)
        changed = policy != self.present
        self.fault, self.present = "", policy
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest != self._digest:
            self._digest = digest
            self._tell(path)
        return changed

    def _tell(self, path: Path) -> None:
        self._told(PolicyNews(str(path), self._digest, len(self.present.rules), self.fault))


def _state(path: Path) -> tuple[int, ...]:
    """What tells one state of a file from another; empty: it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
