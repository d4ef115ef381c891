"""An agent whose handler heeds neither its time limit nor its cancellation: it ends when a file is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct

from weft.agent import Agent

METHOD = "deaf.v1.Deaf/Until"

agent = Agent()


def until_there(file: Path) -> Struct:
    """A request."""
    request = Struct()
    request.update({"file": str(file)})
    return request


@agent.method(METHOD)
def until(request: dict[str, Any]) -> dict[str, Any]:
    """Notes in files beside the awaited one when it begins and when it ends."""
    awaited = Path(request["file"])
    awaited.with_suffix(".begun").touch()
    while not awaited.exists():
        time.sleep(0.005)
    awaited.with_suffix(".ended").touch()
    return request
