"""Graphs of the planner, for tests."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from weft.services.planner.v1 import graph_pb2


def graph_of(nodes: list[Any], **more: Any) -> graph_pb2.Graph:
    """A graph of nodes as JSON values."""
    return json_format.ParseDict({"nodes": nodes, **more}, graph_pb2.Graph())
