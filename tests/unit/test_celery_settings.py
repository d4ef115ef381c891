"""The table of Celery's settings is whole, and the guide has it; names of tasks; when periodic tasks run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery")

from celery import Celery
from celery.app.defaults import DEFAULTS, SETTING_KEYS
from celery.schedules import BaseSchedule, crontab

from weft.client import Cron, Every
from weft.compat.celery.beat_schedules import timing_of
from weft.compat.celery.celery_settings import SETTINGS, SettingKind, not_carried, setting_row, table
from weft.compat.celery.task_names import method_name

GUIDE = Path(__file__).resolve().parents[2] / "docs/deploy/migrate-celery.md"


def test_every_setting_of_celery_is_in_the_table() -> None:
    assert len(SETTING_KEYS) > 150
    assert [name for name in sorted(SETTING_KEYS) if setting_row(name) is None] == []


def test_every_row_is_of_settings_that_celery_has() -> None:
    """Those of newer versions may be missing in older ones, but not a whole row."""
    for row in SETTINGS:
        assert any(setting_row(name) is row for name in SETTING_KEYS), row


def test_the_guide_has_the_table() -> None:
    assert table() in GUIDE.read_text(), "write weft.compat.celery.celery_settings.table() into the guide"


def test_what_is_not_carried_is_told_when_it_is_set() -> None:
    assert list(not_carried(DEFAULTS)) == []
    told = dict(not_carried({**DEFAULTS, "worker_max_tasks_per_child": 5, "broker_heartbeat": 1}))
    assert list(told) == ["worker_max_tasks_per_child"]
    assert "](" not in told["worker_max_tasks_per_child"]
    assert SettingKind.NOT_CARRIED in {row.kind for row in SETTINGS}


@pytest.mark.parametrize(
    ("task", "method"),
    [
        ("proj.tasks.add", "celery.proj.tasks/add"),
        ("add", "celery/add"),
        ("celery.chord_unlock", "celery.celery/chord_unlock"),
        ("send-mail", "celery/send_x2d_mail"),
        ("feeds:1st", "celery/feeds_x3a_1st"),
        ("a.1st", "celery.a/_1st"),
        ("a..b", "celery.a._/b"),
    ],
)
def test_names(task: str, method: str) -> None:
    assert method_name(task) == method


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (30, Every(30.0)),
        (crontab(), Cron("* * * * *")),
        (crontab(minute="*/15", hour="1,3"), Cron("0,15,30,45 1,3 * * *")),
        (crontab(minute=0, hour=7, day_of_week="mon-wed,sunday"), Cron("0 7 * * 0,1,2,3")),
        (crontab(minute=0, hour=0, day_of_month="1-3", month_of_year="*/6"), Cron("0 0 1,2,3 1,7 *")),
    ],
)
def test_times_of_periodic_tasks(given: Any, wanted: Any) -> None:
    assert timing_of(Celery("x"), "entry", given) == wanted


def test_the_time_zone_is_the_apps() -> None:
    app = Celery("x")
    app.conf.timezone = "Asia/Tokyo"
    assert timing_of(app, "entry", crontab(minute=0, hour=9)) == Cron("0 9 * * *", "Asia/Tokyo")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (crontab(minute=0, hour=0, day_of_month=13, day_of_week="fri"), "days of the month and of the week"),
        (0.5, "at least 1 s"),
        (BaseSchedule(), "crontab and intervals"),
    ],
)
def test_times_that_weft_does_not_have_are_refused(given: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        timing_of(Celery("x"), "entry", given)
