"""The methods that Celery's tasks are, and the labels that its queues are. Pure."""

from __future__ import annotations

import re

_PACKAGE = "celery"
# What is no part of a name in a .proto.
_OTHER = re.compile(r"[^A-Za-z0-9_.]")
QUEUE_LABEL = "celery.queue."
# The value of such a label: an agent takes from the queue.
TAKES = "yes"


def method_name(task: str) -> str:
    """The full name of the method that a task is: of `proj.tasks.add`, it is `celery.proj.tasks/add`; of `add`, `celery/add`.

    Characters that names in a .proto cannot have are written as their number: `send-mail` is `celery/send_x2d_mail`.
    """
    parts = [_identifier(part) for part in task.split(".")]
    return f"{'.'.join([_PACKAGE, *parts[:-1]])}/{parts[-1]}"


def _identifier(text: str) -> str:
    made = _OTHER.sub(lambda found: f"_x{ord(found[0]):x}_", text)
    return made if made and not made[0].isdigit() else f"_{made}"


def queue_label(queue: str) -> str:
    """The label of agents that take from a queue."""
    return f"{QUEUE_LABEL}{queue}"
