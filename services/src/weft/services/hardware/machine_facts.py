"""What a machine is, as labels and resources of its agent, so that tasks can ask for it: `--require memory_bytes>=8e9`.

The container and the pod are labels of every agent already (`environment_labels`).
"""

from __future__ import annotations

import psutil

from weft.agent import Agent
from weft.rpc.process import host_readings, process_readings
from weft.services.hardware.counters import may_be_hidden


def machine_labels() -> dict[str, str]:
    """`gpu.name`, if all GPUs have one name."""
    names: set[str] = set()
    with may_be_hidden("gpus", []):
        names = {gpu.name for gpu in host_readings.gpus()}
    return {"gpu.name": names.pop()} if len(names) == 1 else {}


def machine_resources() -> dict[str, float]:
    """`cpu` in cores, `memory_bytes`, `gpu` and `gpu_memory_bytes`: what the control group allows, or else what there is."""
    found: dict[str, float] = {}
    with may_be_hidden("processor", []):
        cores = float(psutil.cpu_count() or 0)
        found["cpu"] = min(cores, process_readings.cpu_limit() or cores)
    with may_be_hidden("memory", []):
        total = psutil.virtual_memory().total
        found["memory_bytes"] = float(min(total, process_readings.memory_limit() or total))
    with may_be_hidden("gpus", []):
        gpus = host_readings.gpus()
        found["gpu"] = float(len(gpus))
        found["gpu_memory_bytes"] = float(sum(gpu.memory_bytes for gpu in gpus))
    return {name: amount for name, amount in found.items() if amount}


def label_with_facts(agent: Agent) -> None:
    """Give the agent the labels and resources that it has not been given otherwise. For its start, before it says hello."""
    for name, value in machine_labels().items():
        agent.settings.labels.setdefault(name, value)
    for name, amount in machine_resources().items():
        agent.settings.resources.setdefault(name, amount)
