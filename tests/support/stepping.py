"""An agent whose handler takes steps of each kind, and writes them into a ledger: `weft agent tests.support.stepping:agent`.

WEFT_STEPS_LEDGER names the file. A line a run of a step: the task, the step, the process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2

from weft.agent import Agent, current_task
from weft.client import RetryPolicy

agent = Agent()
METHOD = "steps.v1.Chain/Run"
CHILD = "steps.v1.Chain/Child"
# A second at least, or it is no step.
SLEEP_S = 1.0
KINDS = ("local", "call", "sleep", "submit", "signal")
_PATIENT = RetryPolicy(max_crashes=1000)


def note(task_id: str, step: str) -> None:
    with Path(os.environ["WEFT_STEPS_LEDGER"]).open("ab", buffering=0) as file:
        file.write(f"{task_id} {step} {os.getpid()}\n".encode())


@agent.method(CHILD, retry=_PATIENT)
async def child(request: dict[str, Any]) -> dict[str, Any]:
    note(current_task().parent_id, f"child-{request['n']:g}")
    return {"n": request["n"]}


@agent.method(METHOD, durable_children=True, retry=_PATIENT)
async def run(request: dict[str, Any]) -> dict[str, Any]:
    """Take `steps` steps, one kind after another; the sum of what they give."""
    task, total = current_task(), 0
    call = task.mesh.channel().unary_unary(
        f"/{CHILD}", struct_pb2.Struct.SerializeToString, struct_pb2.Struct.FromString
    )
    for n in range(int(request["steps"])):
        kind = KINDS[n % len(KINDS)]
        if kind == "local":

            def step(n: int = n) -> int:
                note(task.id, f"local-{n}")
                return n

            total += await task.step("local", step)
        elif kind == "call":
            reply = await call(json_format.ParseDict({"n": n}, struct_pb2.Struct()))
            total += int(reply["n"])
        elif kind == "sleep":
            await task.sleep(SLEEP_S)
            total += n
        elif kind == "submit":
            total += int((await task.mesh.tasks.call(child, {"n": n}))["n"])
        else:
            total += await task.wait_signal("go")
    return {"total": total}
