"""The configuration of a store, as plain values: its place and its bounds. Imports no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from weft.coordinator.store.state_store import MAX_STATES

# Default bound on the stored responses of one task.
MAX_PROGRESS_BYTES = 256 * 1024 * 1024
# Default bound on the kept events of one topic.
EVENT_KEEP_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds that hold in every store."""

    # Different requirements that unfinished tasks of one method may have.
    max_queues: int = 1024
    # Responses that one task may store, and their bytes.
    max_progress: int = 1_000_000
    max_progress_bytes: int = MAX_PROGRESS_BYTES
    # Bytes of the kept events of one topic, about.
    event_keep_bytes: int = EVENT_KEEP_BYTES
    # Keyed states.
    max_states: int = MAX_STATES


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Which store to open, and how."""

    # The path of a file for the embedded store, or the URL of a Redis.
    location: str
    # One of the store's own modes; empty: its default.
    durability: str = ""
    # The time that agents have to come back after the store or all coordinators were away.
    recovery_grace_s: float = 5.0
    limits: StoreLimits = StoreLimits()
    # Redis only: the prefix of all keys; "username", "password" and files of certificates where the URL has none.
    prefix: str = "weft"
    credentials: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def of_namespace(self, name: str) -> StoreConfig:
        """The store of a namespace, apart from this one: other keys in the same Redis, or a file in a folder beside this file."""
        if self.shared:
            return replace(self, prefix=f"{self.prefix}:ns:{name}")
        return replace(self, location=str(Path(f"{self.location}.namespaces", name, "weft.db")))

    @property
    def shared(self) -> bool:
        return is_url(self.location)


def is_url(location: str) -> bool:
    """Whether a store's location is the URL of a Redis, and not the path of a file."""
    return "://" in location


def without_credentials(url: str) -> str:
    """A URL as it may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # It is shown in the message that refuses it.
        return f"{url.partition('://')[0]}://…"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
