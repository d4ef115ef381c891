"""`adopt`: lets an app of Celery submit to a mesh, by the classes that Celery lets apps choose."""

from __future__ import annotations

from typing import TypeVar

from celery import Celery

from weft.compat.celery.app_mesh import set_mesh
from weft.compat.celery.mesh_amqp import MeshAmqp
from weft.compat.celery.mesh_backend import MeshBackend
from weft.compat.celery.mesh_control import MeshControl

App = TypeVar("App", bound=Celery)


def adopt(app: App, target: str | None = None) -> App:
    """Let an app submit its tasks to a mesh, and read their results there, instead of by its broker and result backend.

        app = adopt(Celery("proj"))

    It may be called before the app is configured, and more than once. No connection is made before the first call of a task.

    Args:
        app: any `celery.Celery`.
        target: the coordinator's "host:port", or several with commas. Default: the variable WEFT_TARGET, or else 127.0.0.1:7700. In tasks, it
            is that of the agent.

    Returns:
        The app.
    """
    set_mesh(app, target)
    if app.amqp_cls is MeshAmqp:
        return app
    app.amqp_cls, app.control_cls = MeshAmqp, MeshControl
    # By its name: older versions take no class here.
    app.backend_cls = f"{MeshBackend.__module__}:{MeshBackend.__name__}"  # pyright: ignore[reportAttributeAccessIssue]
    # What the app has made of the classes before.
    for name in ("amqp", "control"):
        vars(app).pop(name, None)
    if app._backend is not None:
        app._backend = MeshBackend(app=app)
    return app
