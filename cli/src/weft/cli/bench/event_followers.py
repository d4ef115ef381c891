"""A process of live subscribers: `python -m weft.cli.bench.event_followers TARGET SUBSCRIBERS EVENTS FILE`.

Each subscriber has a connection of its own and reads until it has had, or has missed, so many events. `FILE.ready` is written when all of them
have begun, and FILE when all are done: what they got and how late, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from weft.cli.bench.bench_subject import PAYLOAD
from weft.rpc.network.channel import Route, client_options, dial
from weft.rpc.process import event_loops
from weft.rpc.security.channel_credentials import channel_security
from weft.rpc.security.tls import chosen
from weft.v1 import event_pb2, event_pb2_grpc

TOPIC = PAYLOAD.DESCRIPTOR.full_name


class Followers:
    """The subscribers of one process.

    Args:
        file: where their figures go.
    """

    def __init__(self, target: str, subscribers: int, events: int, file: Path) -> None:
        self._target = target
        self._subscribers = subscribers
        self._events = events
        self._file = file
        self._begun = 0
        self._received = self._missed = 0
        # Of the first event of each response, which is the oldest one.
        self._late_s: list[float] = []

    async def run(self) -> None:
        """Follow the topic, and write the figures."""
        waiting = [asyncio.create_task(self._follow()) for _ in range(self._subscribers)]
        while self._begun < self._subscribers:
            await asyncio.sleep(0.01)
            for each in waiting:
                if each.done():
                    # A subscriber that has ended before the first event has failed.
                    each.result()
        before_s = time.process_time()
        _write(self._file.with_suffix(".ready"), "")
        await asyncio.gather(*waiting)
        figures = {
            "received": self._received,
            "missed": self._missed,
            "late_s": self._late_s,
            "cpu_s": time.process_time() - before_s,
        }
        _write(self._file, json.dumps(figures))

    async def _follow(self) -> None:
        options = client_options(own_connection=True)
        async with dial(self._target, options, Route(security=channel_security(chosen(None)))) as channel:
            call = event_pb2_grpc.EventServiceStub(channel).SubscribeEvents(
                event_pb2.SubscribeEventsRequest(topic=TOPIC, keep_up=True), wait_for_ready=True
            )
            seen = 0
            async for response in call:
                if response.events:
                    sent_s = response.events[0].publish_time.ToNanoseconds() / 1e9
                    self._late_s.append(time.time() - sent_s)
                elif not seen:
                    self._begun += 1
                seen += len(response.events) + response.missed
                self._received += len(response.events)
                self._missed += response.missed
                if seen >= self._events:
                    return


def _write(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


if __name__ == "__main__":
    target, subscribers, events, file = sys.argv[1:]
    event_loops.run(Followers(target, int(subscribers), int(events), Path(file)).run())
