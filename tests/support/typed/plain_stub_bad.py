"""Stubs as gRPC's own generator writes them, without types: their methods' names are checked all the same."""

from __future__ import annotations

from typing import Any

from weft.client import methods
from weft.v1 import coordinator_pb2_grpc

coordinator = methods(coordinator_pb2_grpc.CoordinatorServiceStub)
submit: Any = coordinator.SubmitTsk  # wrong
