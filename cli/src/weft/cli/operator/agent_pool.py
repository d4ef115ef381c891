"""What a `WeftAgentPool` says. Pure. The definition in the chart refuses most of what is wrong; this holds whatever the definition is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from weft.coordinator.doors.keda.scaler_metadata import FollowedWork, followed_work
from weft.rpc import bounded_json
from weft.rpc.errors import InvalidArgument

GROUP, VERSION, KIND, PLURAL = "weft.dev", "v1alpha1", "WeftAgentPool", "weftagentpools"
# Of a Deployment and its pods: the pool's name.
POOL_LABEL = "weft.dev/agent-pool"

MAX_REPLICAS = 10_000
MAX_STABILIZATION_S = 3600
DEFAULT_STABILIZATION_S = 60
# Longer than an agent gives its handlers at a stop (WEFT_AGENT_DRAIN_GRACE_S, 30).
DEFAULT_GRACE_S = 40
_MAX_LABEL_CHARS = 63

# An object of the API, as JSON has it.
Object = dict[str, Any]


class PoolInvalid(Exception):
    """A resource cannot be a pool. The text says which field, and what to do."""


class ObjectPlace(NamedTuple):
    """An object's namespace in Kubernetes, and its name."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class AgentPool:
    """A pool.

    Attributes:
        work: which tasks count, and how many one agent is for.
        fixed: so many agents, whatever the queues hold; None: the queues decide.
        template: of pods.
        stabilization_s: agents become fewer when so few have been enough for so long.
    """

    place: ObjectPlace
    uid: str
    generation: int
    work: FollowedWork
    least: int
    most: int
    fixed: int | None
    stabilization_s: int
    template: Mapping[str, Any]


def place_of(found: Object) -> ObjectPlace:
    """Where an object is.

    Raises:
        ValueError: it is no object of the API.
    """
    about = found.get("metadata")
    if not isinstance(about, dict):
        raise ValueError("an object without metadata")  # noqa: TRY004
    place = ObjectPlace(about.get("namespace", ""), about.get("name", ""))
    if not all(isinstance(each, str) for each in (*place, about.get("uid"))) or not place.name:
        raise ValueError("an object without a name or uid")
    return place


def read_pool(found: Object) -> AgentPool:
    """The pool that a resource says.

    Raises:
        PoolInvalid: it says none.
    """
    place = place_of(found)
    if len(place.name) > _MAX_LABEL_CHARS:
        raise PoolInvalid(
            f"metadata.name has {len(place.name)} characters; at most {_MAX_LABEL_CHARS} fit into a label of its pods"
        )
    try:
        bounded_json.check_depth(found.get("spec"))
    except bounded_json.TooDeep as error:
        raise PoolInvalid(f"spec cannot be read: {error}") from None
    spec = _mapping(found.get("spec"), "spec")
    least = _count(spec, "minReplicas", 0, default=0)
    most = _count(spec, "maxReplicas", 1)
    if least > most:
        raise PoolInvalid(f"spec.minReplicas ({least}) must not be above spec.maxReplicas ({most})")
    return AgentPool(
        place=place,
        uid=found["metadata"]["uid"],
        generation=found["metadata"].get("generation", 0),
        work=_work(spec),
        least=least,
        most=most,
        fixed=None if spec.get("replicas") is None else _count(spec, "replicas", 0),
        stabilization_s=_count(
            spec, "scaleDownStabilizationSeconds", 0, MAX_STABILIZATION_S, default=DEFAULT_STABILIZATION_S
        ),
        template=_template(spec),
    )


def _work(spec: Mapping[str, Any]) -> FollowedWork:
    work = _mapping(spec.get("work"), "spec.work")
    given = {"methods": _joined(work, "methods")}
    if work.get("requirements") is not None:
        given["requirements"] = _joined(work, "requirements")
    namespace = work.get("meshNamespace", "")
    if not isinstance(namespace, str):
        raise PoolInvalid("spec.work.meshNamespace must be text")
    given["meshNamespace"] = namespace
    given["tasksPerReplica"] = str(_count(spec, "tasksPerReplica", 1, 1_000_000, default=1))
    try:
        return followed_work(given)
    except InvalidArgument as error:
        # The same rules as those of triggers of KEDA, whose keys these are.
        raise PoolInvalid(error.message.replace("scalerMetadata.", "spec.work.")) from None


def _joined(work: Mapping[str, Any], key: str) -> str:
    found = work.get(key)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise PoolInvalid(f"spec.work.{key} must be a list of texts")
    if any("," in each for each in found):
        raise PoolInvalid(f"spec.work.{key} has a comma within an entry: write an entry for each")
    return ",".join(found)


def _template(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    template = _mapping(spec.get("template"), "spec.template")
    pod = _mapping(template.get("spec"), "spec.template.spec")
    if not isinstance(pod.get("containers"), list) or not pod["containers"]:
        raise PoolInvalid("spec.template.spec.containers must have a container: the agent")
    labels = _mapping(template.get("metadata") or {}, "spec.template.metadata").get("labels") or {}
    if POOL_LABEL in _mapping(labels, "spec.template.metadata.labels"):
        raise PoolInvalid(
            f"spec.template.metadata.labels has {POOL_LABEL}, which the operator sets: leave it out"
        )
    return template


def _mapping(found: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise PoolInvalid(f"{field} must be an object")
    return found


def _count(
    spec: Mapping[str, Any], key: str, least: int, most: int = MAX_REPLICAS, *, default: int | None = None
) -> int:
    found = spec.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise PoolInvalid(f"spec.{key} must be a whole number from {least} to {most}")
    return found
