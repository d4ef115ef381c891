"""Celery's programs in a mesh: weft in the place of the broker, the workers, the result backend and beat. The tasks stay as they are.

    # proj/app.py, below `app = Celery("proj")`
    from weft.compat.celery import adopt

    adopt(app)

From then on `delay`, `apply_async`, `send_task`, signatures, chains, groups and chords submit tasks of the mesh, and `AsyncResult` reads them.
Agents host the tasks, by Celery's own tracer: `weft agent --celery proj.app`. Celery itself stays installed; nothing of it is patched.

`adopt`
    lets an app submit to a mesh.
`agent`
    an agent that hosts the tasks of an app: what `weft agent --celery` runs.
`apply_beat`
    stores the app's `beat_schedule` as schedules of the mesh.
`method_name`
    the method that a task is.
`SETTINGS`
    what each setting of Celery is in weft.
"""

import weft.rpc  # noqa: F401 - before anything that loads gRPC
from weft.rpc.process.extras import require

require("celery", "weft.compat.celery")

from weft.compat.celery.adoption import adopt
from weft.compat.celery.beat_schedules import apply_beat
from weft.compat.celery.celery_settings import SETTINGS
from weft.compat.celery.task_hosting import agent
from weft.compat.celery.task_names import method_name

__all__ = ["SETTINGS", "adopt", "agent", "apply_beat", "method_name"]
