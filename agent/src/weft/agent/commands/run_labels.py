"""Labels that an operator has changed while the process runs: they hold in each later Hello, until it ends."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from weft.v1 import session_pb2


class RunLabels:
    """The changes. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: dict[str, str] = {}
        self._removed: set[str] = set()

    def change(self, changed: Mapping[str, str], removed: Collection[str]) -> None:
        """Add a change to those before."""
        with self._lock:
            self._set = {
                key: value for key, value in (self._set | dict(changed)).items() if key not in removed
            }
            self._removed = (self._removed - changed.keys()) | set(removed)

    def put_into(self, hello: session_pb2.Hello) -> session_pb2.Hello:
        """The same Hello, with the labels as they are now."""
        with self._lock:
            for key in self._removed:
                hello.labels.pop(key, None)
            hello.labels.update(self._set)
        return hello
