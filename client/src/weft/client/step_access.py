"""What an agent needs of its clients to record the steps of its handlers: their API and their loop."""

from __future__ import annotations

from weft.client.api import Api
from weft.client.mesh import Mesh
from weft.client.sync.background_loop import BackgroundLoop
from weft.client.sync.sync_mesh import SyncMesh


def api_of(mesh: Mesh) -> Api:
    """The API behind a mesh."""
    return mesh.tasks._api


def behind(sync_mesh: SyncMesh) -> tuple[Mesh, BackgroundLoop]:
    """The mesh behind one for threads, and its loop."""
    return sync_mesh._mesh, sync_mesh._loop
