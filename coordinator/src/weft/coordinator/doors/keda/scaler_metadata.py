"""What a ScaledObject's trigger says about the work that it follows. Pure.

triggers:
  - type: external
    metadata:
      scalerAddress: weft-coordinator:7700
      methods: acme.v1.Greeter/*, acme.v1.Mailer/Send
      tasksPerReplica: "4"
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.security.namespace_names import DEFAULT, is_name
from weft.rpc.similar_names import similar_names

MAX_KEYS = 64
MAX_METHODS = 100
MAX_VALUE_CHARS = 16 * 1024
_METHOD = re.compile(r"([A-Za-z_]\w*\.)*[A-Za-z_]\w*/([A-Za-z_]\w*|\*)", re.ASCII)
_REQUIREMENT = re.compile(r"[^=:>,]+(=|>=|:)[^,]+")
# Metrics by name, as KEDA's autoscaler knows them.
TASKS, OLDEST_AGE = "tasks", "oldest-age-seconds"

_OWN = (
    "methods",
    "requirements",
    "meshNamespace",
    "tasksPerReplica",
    "activationTasks",
    "ageSecondsPerReplica",
)
# KEDA's own: it sends all that the trigger says.
_OF_KEDA = frozenset({"scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey"})


@dataclass(frozen=True, slots=True)
class FollowedWork:
    """The work that a trigger follows.

    Attributes:
        methods: full names of methods; "package.Service/*" means all of a service.
        requirements: of the tasks that count, each as `weft queues list` writes it ("gpu>=1"); empty: tasks without any; None: all tasks.
        namespace: of the mesh; empty: the default one.
        tasks_per_replica: how many tasks one replica is for.
        activation_tasks: with so many tasks or fewer, there need be no replica.
        age_s_per_replica: with each further time of so many seconds that the oldest task has waited there is to be one more replica; None: its age does not matter.
    """

    methods: tuple[str, ...]
    requirements: frozenset[str] | None = None
    namespace: str = ""
    tasks_per_replica: float = 1.0
    activation_tasks: int = 0
    age_s_per_replica: float | None = None

    def follows(self, method: str) -> bool:
        """Whether tasks of a method count."""
        return method in self.methods or f"{method.partition('/')[0]}/*" in self.methods


def followed_work(given: Mapping[str, str]) -> FollowedWork:
    """What a trigger's metadata says.

    Raises:
        InvalidArgument: INVALID_FIELD; the message says which key, and what to do.
    """
    if len(given) > MAX_KEYS:
        raise _wrong("", f"has {len(given)} keys, and at most {MAX_KEYS} are read: leave the others out")
    for key, value in given.items():
        _check_key(key)
        if len(value) > MAX_VALUE_CHARS:
            raise _wrong(key, f"has {len(value)} characters; at most {MAX_VALUE_CHARS} are read")
    requirements = given.get("requirements")
    return FollowedWork(
        methods=_methods(given.get("methods", "")),
        requirements=None if requirements is None else _requirements(requirements),
        namespace=_namespace(given.get("meshNamespace", "")),
        tasks_per_replica=_number(given, "tasksPerReplica", 1.0),
        activation_tasks=_count(given.get("activationTasks", "0")),
        age_s_per_replica=_number(given, "ageSecondsPerReplica", 1.0)
        if "ageSecondsPerReplica" in given
        else None,
    )


def _wrong(key: str, what: str) -> InvalidArgument:
    field = f"scalerMetadata.{key}" if key else "scalerMetadata"
    return refusals.invalid_field(f"{field} {what}", field=field)


def _check_key(key: str) -> None:
    if key in _OWN or key in _OF_KEDA or key.endswith("FromEnv"):
        return
    near = similar_names(key, _OWN)
    meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(_OWN)}"
    raise _wrong(key[:64], f"is not known; {meant}")


def _methods(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))
    if not found:
        raise _wrong(
            "methods",
            "must name methods, such as acme.v1.Greeter/Greet or acme.v1.Greeter/*, with commas between",
        )
    if len(found) > MAX_METHODS:
        raise _wrong(
            "methods",
            f"names {len(found)} methods, and at most {MAX_METHODS} are followed: name a service, as acme.v1.Greeter/*",
        )
    for each in found:
        if not _METHOD.fullmatch(each):
            raise _wrong(
                "methods",
                f"names {each[:128]!r}, which is neither package.Service/Method nor package.Service/*",
            )
    return found


def _requirements(text: str) -> frozenset[str]:
    found = frozenset(each.strip() for each in text.split(",") if each.strip())
    for each in found:
        if not _REQUIREMENT.fullmatch(each):
            raise _wrong(
                "requirements",
                f"has {each[:128]!r}, which is no requirement, such as zone=eu, gpu>=1 or memory_gb:4",
            )
    return found


def _namespace(text: str) -> str:
    if text in ("", DEFAULT):
        return ""
    if not is_name(text):
        raise _wrong("meshNamespace", f"is {text[:128]!r}, which no namespace of weft is called")
    return text


def _number(given: Mapping[str, str], key: str, default: float) -> float:
    text = given.get(key)
    if text is None:
        return default
    try:
        # Python reads 1_000 and the digits of all scripts, too.
        found = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        found = math.nan
    if not 0 < found <= 1e9:
        raise _wrong(key, f'is {text[:64]!r}; it must be a number above 0 and up to 1000000000, such as "4"')
    return found


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _wrong("activationTasks", f'is {text[:64]!r}; it must be a whole number from 0 on, such as "0"')
    return int(text)
