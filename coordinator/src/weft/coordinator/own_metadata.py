"""The metadata by which the coordinator tells a handler why its task exists: a tick of a schedule, the end of a group."""

from __future__ import annotations

from collections.abc import Mapping

from weft.v1 import task_pb2


def set_metadata(options: task_pb2.TaskOptions, values: Mapping[str, str]) -> None:
    """Give a task these entries. Others with their keys give way: a handler may have passed on what it was told itself."""
    metadata = options.context.metadata
    kept = [entry for entry in metadata if entry.key not in values]
    del metadata[:]
    metadata.extend(kept)
    for key, value in values.items():
        metadata.add(key=key, value=value.encode())
