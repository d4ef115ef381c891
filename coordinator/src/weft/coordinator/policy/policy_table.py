"""The policies in force: method name -> `MethodPolicy`, made again for a method when its contract or its override changes.

Every coordinator has one. The catalogue of contracts tells it which method is in force; the operators' overrides and run limits
come as one mapping each. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from google.protobuf.descriptor import MethodDescriptor

from weft.coordinator.policy.fallbacks import MAX_FALLBACKS, fallback_fault
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.coordinator.policy.policy_compiler import compiled
from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.logs import get_logger
from weft.rpc.task_policy.policy_checks import check_layer
from weft.rpc.task_policy.policy_layers import resolve
from weft.v1 import options_pb2

log = get_logger(__name__)


class MethodInForce(Protocol):
    """What the table needs of a method of a contract."""

    @property
    def name(self) -> str: ...
    @property
    def descriptor(self) -> MethodDescriptor: ...
    @property
    def policy(self) -> MethodPolicy | None: ...


class PolicyTable:
    """The policies of the methods in force; a method without options is not in it.

    Large because it has a setter and a reader for each of its inputs.
    """

    def __init__(self) -> None:
        self._methods: dict[str, MethodInForce] = {}
        self._policies: dict[str, MethodPolicy] = {}
        # The policy of a method; None: nothing is set. Each call asks, so it is the dictionary's own.
        self.find: Callable[[str], MethodPolicy | None] = self._policies.get
        self._overrides: Mapping[str, options_pb2.TaskPolicy] = {}
        self._limits: Mapping[str, options_pb2.TaskPolicy] = {}
        self._problems: dict[str, str] = {}
        self._listeners: list[Callable[[frozenset[str]], None]] = []

    # -- reading ------------------------------------------------------------------------------------------------

    def slot_cost(self, method: str) -> int:
        """The least slots of a task of this method."""
        policy = self._policies.get(method)
        return max(1, policy.slot_cost) if policy is not None else 1

    def remembers_children(self, method: str) -> bool:
        """Whether the calls of the method's handler are remembered."""
        policy = self._policies.get(method)
        return policy is not None and policy.durable_children

    def fallbacks(self, policy: MethodPolicy) -> Sequence[tuple[str, MethodPolicy | None]]:
        """The methods that may run instead of this one, in order, as far as they are known, each with its own policy."""
        found: list[tuple[str, MethodPolicy | None]] = []
        own, name = self._methods.get(policy.method), policy.fallback
        while own is not None and name in self._methods and len(found) < MAX_FALLBACKS:
            # Another agent may have brought it later, with other types.
            if fallback_fault(own.descriptor, name, self._find):
                break
            other = self._policies.get(name)
            found.append((name, other))
            name = "" if other is None else other.fallback
        return found

    def all(self) -> Iterable[MethodPolicy]:
        """Every policy."""
        return self._policies.values()

    @property
    def overrides(self) -> Mapping[str, options_pb2.TaskPolicy]:
        """The operator's overrides, by method; also of methods that are not known (yet)."""
        return self._overrides

    @property
    def limits(self) -> Mapping[str, options_pb2.TaskPolicy]:
        """The operators' run limits, by method, each as options with nothing else."""
        return self._limits

    @property
    def problems(self) -> Mapping[str, str]:
        """Overrides that do not fit the contract in force, by method: they are ignored, for this reason."""
        return self._problems

    def on_change(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Call `listener` with the methods whose policies have changed, after each change."""
        self._listeners.append(listener)

    # -- changes ------------------------------------------------------------------------------------------------

    def put_methods(self, methods: Iterable[MethodInForce]) -> None:
        """These methods have come into force."""
        names = []
        for method in methods:
            self._methods[method.name] = method
            names.append(method.name)
        self._resolve(names)

    def remove_methods(self, names: Iterable[str]) -> None:
        """These methods are not known any more."""
        gone = list(names)
        for name in gone:
            self._methods.pop(name, None)
        self._resolve(gone)

    def set_overrides(self, overrides: Mapping[str, options_pb2.TaskPolicy]) -> None:
        """These are the overrides now, all of them. One that does not fit its method's contract is ignored (`problems`)."""
        before, self._overrides = self._overrides, dict(overrides)
        self._resolve(_differing(before, overrides))

    def set_limits(self, limits: Mapping[str, options_pb2.TaskPolicy]) -> None:
        """These are the operators' run limits now, all of them. They only tighten those of contract and override."""
        before, self._limits = self._limits, dict(limits)
        self._resolve(_differing(before, limits))

    def check_override(self, method: str, override: options_pb2.TaskPolicy) -> None:
        """Refuse an override, or run limits, that the method cannot have. An unknown method takes any.

        Raises:
            InvalidArgument: INVALID_FIELD; `field` is the option.
        """
        info = self._methods.get(method)
        if info is not None:
            check_layer(override, info.descriptor)
            compiled(override, info.descriptor)
            self._made(info, override)

    def _resolve(self, names: Iterable[str]) -> None:
        changed = {name for name in names if self._resolve_one(name)}
        if changed:
            for listener in self._listeners:
                listener(frozenset(changed))

    def _resolve_one(self, name: str) -> bool:
        before = self._policies.pop(name, None)
        self._problems.pop(name, None)
        info = self._methods.get(name)
        if info is None:
            return before is not None
        made = info.policy
        layers: options_pb2.TaskPolicy | None = None
        for layer in (self._overrides.get(name), self._limits.get(name)):
            if layer is None:
                continue
            try:
                check_layer(layer, info.descriptor)
                compiled(layer, info.descriptor)
                both = resolve(layers, layer)
                made, layers = self._made(info, both), both
            except InvalidArgument as error:
                self._problems[name] = error.message
                log.warning("override.ignored", method=name, error=error.message)
        if made is not None:
            self._policies[name] = made
        return made != before

    def _made(self, info: MethodInForce, override: options_pb2.TaskPolicy | None) -> MethodPolicy | None:
        contract = None if info.policy is None else info.policy.options
        options = resolve(contract, override)
        if options is None or not options.ListFields():
            return None
        made = compiled(options, info.descriptor)
        if made.fallback and (fault := fallback_fault(info.descriptor, made.fallback, self._find)):
            raise refusals.invalid_field(f"fallback: {fault}", field="fallback")
        return made

    def _find(self, name: str) -> tuple[MethodDescriptor, str] | None:
        info = self._methods.get(name)
        if info is None:
            return None
        policy = self._policies.get(name)
        return info.descriptor, "" if policy is None else policy.fallback


def _differing(
    before: Mapping[str, options_pb2.TaskPolicy], after: Mapping[str, options_pb2.TaskPolicy]
) -> list[str]:
    return [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
