"""Its tasks: what people write with Celery."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from celery import chain, shared_task
from celery.exceptions import Ignore, Reject


class NoMoney(Exception):
    """An exception with arguments of its own."""

    def __init__(self, wanted: int, there: int) -> None:
        super().__init__(wanted, there)
        self.wanted = wanted


@shared_task
def add(x, y):
    return x + y


@shared_task
def total(numbers):
    return sum(numbers)


@shared_task(name="send-mail")
def send_mail(to, *, subject="hello"):
    return {"to": to, "subject": subject}


@shared_task
def values(day):
    """What Celery's JSON carries beyond JSON's own."""
    return {
        "next": day + timedelta(days=1),
        "price": Decimal("1.10"),
        "big": 2**70,
        "float": 3.0,
        "raw": b"\x00\xff",
    }


@shared_task
def today():
    return date(2026, 12, 1).isoformat(), datetime(2026, 12, 1, tzinfo=UTC)


@shared_task(bind=True, max_retries=3)
def flaky(self, need, wait_s=0.01):
    """Fails until it has been tried so often."""
    if self.request.retries < need:
        raise self.retry(countdown=wait_s, exc=NoMoney(need, self.request.retries))
    return [self.request.retries, self.request.id == flaky.request.id, self.name]


@shared_task(bind=True)
def shrinks(self, left, *, done=()):
    """Tries again with other arguments."""
    if left:
        raise self.retry(args=(left - 1,), kwargs={"done": [*done, left]}, countdown=0)
    return list(done)


@shared_task(autoretry_for=(ConnectionError,), retry_kwargs={"countdown": 0.01}, max_retries=2, bind=True)
def fetch(self, fails):
    if self.request.retries < fails:
        raise ConnectionError("the bank is away")
    return self.request.retries


@shared_task
def fails(wanted):
    raise NoMoney(wanted, 1)


@shared_task
def leaves(status):
    sys.exit(status)


@shared_task
def gives_objects():
    return {"lock": threading.Lock()}


@shared_task(ignore_result=True)
def forgets():
    return 42


@shared_task
def ignores():
    raise Ignore


@shared_task
def rejects():
    raise Reject("not mine", requeue=False)


@shared_task(bind=True)
def replaced(self, x):
    return self.replace(add.s(x, 10))


@shared_task(bind=True)
def fans_out(self, n):
    """A task that starts others."""
    chain(add.s(n, 1), add.s(1)).apply_async()
    return self.request.root_id == self.request.id


@shared_task
def note(text, place):
    """A callback."""
    with Path(place).open("a") as file:
        file.write(f"{text}\n")


@shared_task
def on_error(request, exc, traceback, place):
    with Path(place).open("a") as file:
        file.write(f"{type(exc).__name__} {traceback is not None}\n")


@shared_task(bind=True)
def feed_refresh(self, url):
    return [url, self.request.delivery_info["routing_key"], self.request.delivery_info["priority"]]


@shared_task(bind=True)
def slow(self, started, release):
    """Says that it runs, and ends when it may."""
    for done in (1, 2):
        self.update_state(state="PROGRESS", meta={"done": done})
    with Path(started).open("a") as file:
        file.write(f"{self.request.hostname}\n")
    while not Path(release).exists():
        time.sleep(0.01)
    return self.request.hostname
