"""The app, as Celery's own guide has it."""

from __future__ import annotations

from celery import Celery
from celery.schedules import crontab

app = Celery(
    "celery_project",
    broker="redis://127.0.0.1:1/0",
    backend="redis://127.0.0.1:1/1",
    include=["tests.support.celery_project.tasks"],
)
app.conf.update(
    task_routes={"tests.support.celery_project.tasks.feed_*": {"queue": "feeds"}},
    task_soft_time_limit=None,
    worker_concurrency=8,
    result_expires=3600,
    timezone="Europe/Berlin",
    beat_schedule={
        "every minute": {
            "task": "tests.support.celery_project.tasks.add",
            "schedule": 60.0,
            "args": (16, 16),
        },
        "monday-morning": {
            "task": "tests.support.celery_project.tasks.feed_refresh",
            "schedule": crontab(hour=7, minute=30, day_of_week="mon-fri"),
            "kwargs": {"url": "https://example.org"},
            "options": {"expires": 300, "priority": 7},
        },
    },
)
