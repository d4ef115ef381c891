"""Reads what the handlers of one task have logged. After a lost stream it goes on after the last line seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import grpc.aio

from weft.client.api import GET_TASK_LOGS, Api, Patience
from weft.client.task_snapshot import OpenEnum, moment
from weft.v1 import logs_pb2


class MissingLogReason(OpenEnum):
    """The reason why lines of an attempt cannot be had. The numbers are those of `weft.v1.MissingLogReason`."""

    UNSPECIFIED = 0
    # The agent is not connected.
    AGENT_GONE = 1
    # The agent keeps no lines.
    OFF = 2
    # The attempt logged nothing, or its lines are not kept any more.
    NONE_KEPT = 3
    # The agent kept the last lines; the missing ones are older.
    TOO_MANY = 4
    # The agent did not answer in time.
    NO_ANSWER = 5


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that was logged while an attempt was made."""

    # When, by the agent's clock.
    time: datetime | None
    # debug, info, warning, error or critical.
    level: str
    # Its message, or the name of its event.
    event: str
    attempt: int
    agent_id: str
    # Its other fields.
    fields: Mapping[str, str] = field(default_factory=dict)
    # The traceback. Empty: it has none.
    exception: str = ""


@dataclass(frozen=True, slots=True)
class MissingLog:
    """Lines of an attempt that cannot be had."""

    attempt: int
    agent_id: str
    reason: MissingLogReason
    # How many; 0: it is not known.
    count: int = 0


async def read_log(
    api: Api, task_id: str, *, follow: bool, patience_s: float
) -> AsyncGenerator[LogLine | MissingLog]:
    """Give the lines of a task, attempt by attempt.

    Raises:
        NotFound: no task has this id.
        Unreachable: the coordinator was away for longer than `patience_s`.
    """
    patience = Patience(api, patience_s)
    seen: dict[tuple[int, str], int] = {}
    told: set[MissingLog] = set()
    while True:
        call = api.open(GET_TASK_LOGS, logs_pb2.GetTaskLogsRequest(task_id=task_id, follow=follow))
        try:
            async for response in call:
                patience.renew()
                for line in response.lines:
                    key = line.attempt, line.agent_id
                    if line.sequence > seen.get(key, 0):
                        seen[key] = line.sequence
                        yield _line(line)
                if response.HasField("missing") and (missing := _missing(response.missing)) not in told:
                    told.add(missing)
                    yield missing
            return
        except asyncio.CancelledError:
            api.home.check_cut_off()
            raise
        except grpc.aio.AioRpcError as error:
            await patience.wait(error)
        finally:
            call.cancel()


def _line(line: logs_pb2.LogLine) -> LogLine:
    return LogLine(
        moment(line, "time"),
        line.level,
        line.event,
        line.attempt,
        line.agent_id,
        dict(line.fields),
        line.exception,
    )


def _missing(missing: logs_pb2.MissingLog) -> MissingLog:
    return MissingLog(missing.attempt, missing.agent_id, MissingLogReason(missing.reason), missing.count)
