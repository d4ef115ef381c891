"""Contracts: the descriptors behind hosted methods, and which contract is in force for each method.

A contract never changes; its digest is its name. Each has a descriptor pool of its own, so that agents may have different
versions of one file. The contract in force for a method is the newest one with that method: it checks payloads, and reflection
shows it. Every other contract must be wire-compatible with it, since its agents get the same tasks.

No I/O: the caller loads contracts from the store, oldest first. A new contract passes `Contracts.check`, is stored, and then
`admit` puts it in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from weft.coordinator.contracts.canonical import needs_ordering
from weft.coordinator.contracts.compatibility import Compared, check_compatible
from weft.coordinator.contracts.inner_types import has_required_field, types_holding
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.policy.fallbacks import fallback_fault
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.coordinator.policy.policy_reader import PolicyReader
from weft.coordinator.policy.policy_table import PolicyTable
from weft.rpc import refusals
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.names import is_reserved, unknown_method
from weft.rpc.contracts.payload_rules import MessageRules, PayloadRules
from weft.rpc.errors import InvalidArgument

MAX_CONTRACT_BYTES = 8 * 1024 * 1024
# Contracts in force for some method; and older contracts, which are kept for agents that are not upgraded yet.
MAX_IN_FORCE = 4096
MAX_SUPERSEDED = 64
# Of their files. Loaded, a file takes up to forty times its size.
MAX_IN_FORCE_BYTES = 128 * 1024 * 1024
MAX_SUPERSEDED_BYTES = 16 * 1024 * 1024


class Contract:
    """An agent's files, and the methods of them that it hosts."""

    def __init__(self, file_descriptor_set: bytes, pool: DescriptorPool) -> None:
        self.digest = descriptors.digest(file_descriptor_set)
        self.file_descriptor_set = file_descriptor_set
        self.pool = pool
        self.methods: Mapping[str, MethodInfo] = {}
        # All methods that were looked up; contracts from `hosting` share it.
        self._infos: dict[str, MethodInfo] = {}
        self._policies = PolicyReader(pool)
        self._rules = PayloadRules(pool)

    @classmethod
    def load(cls, file_descriptor_set: bytes, methods: Sequence[str]) -> Contract:
        """Build a contract from an agent's files and the names of its hosted methods.

        Raises:
            InvalidArgument: the files are too large or inconsistent, a method is not in them, its options are invalid, or
                rules of its request or response do not compile (CONTRACT_INVALID).
        """
        size = len(file_descriptor_set)
        if size > MAX_CONTRACT_BYTES:
            raise _invalid(f"the contract is {size} bytes; the limit is {MAX_CONTRACT_BYTES}")
        try:
            files = descriptors.PlainFileSet.FromString(file_descriptor_set)
        except DecodeError as error:
            raise _invalid(f"the contract is not a FileDescriptorSet: {error}") from None
        return cls(file_descriptor_set, descriptors.build_pool(files.file)).hosting(methods)

    def hosting(self, methods: Sequence[str]) -> Contract:
        """The same files, for an agent that hosts these methods.

        Raises:
            InvalidArgument: a method is not in the contract, its options are invalid, or rules of its request or response do not
                compile (CONTRACT_INVALID).
        """
        self._look_up([name for name in methods if name not in self._infos])
        contract = copy(self)
        contract.methods = {name: self._infos[name] for name in methods}
        return contract

    def knows(self, methods: Sequence[str]) -> bool:
        """Whether `hosting` has these methods ready, so that it takes no time."""
        return self._infos.keys() >= set(methods)

    def policy_of(self, name: str) -> MethodPolicy | None:
        """The options of a method, hosted or not. None: it has none, they are invalid, or the contract does not have it."""
        method = descriptors.find_method(self.pool, name)
        try:
            return None if method is None else self._policies.read(method)
        except InvalidArgument:
            return None

    def _look_up(self, names: Sequence[str]) -> None:
        found = {name: self._find(name) for name in names}
        requests = [method.input_type for method in found.values()]
        required = types_holding(requests, has_required_field)
        unordered = types_holding(requests, needs_ordering)
        for name, method in found.items():
            kind = descriptors.method_kind(method)
            policy = self._policies.read(method)
            self._infos[name] = MethodInfo(
                name=name,
                kind=kind,
                durable=kind in descriptors.DURABLE_KINDS,
                request_class=descriptors.message_class(method.input_type),
                response_class=descriptors.message_class(method.output_type),
                descriptor=method,
                contract=self.digest,
                has_required=method.input_type.full_name in required,
                ordered=method.input_type.full_name not in unordered,
                policy=policy,
                request_rules=self._request_rules(method, checked=policy is None or policy.check_rules),
            )

    def _request_rules(self, method: MethodDescriptor, *, checked: bool) -> MessageRules | None:
        """The compiled rules of a method's request.

        Args:
            checked: by the method's options; else rules that do not compile are no reason to refuse the contract.
        """
        try:
            # Its agents check responses: their rules must compile, too.
            self._rules.of(method.output_type)
            return self._rules.of(method.input_type)
        except InvalidArgument:
            if checked:
                raise
            return None

    def _find(self, name: str) -> MethodDescriptor:
        method = descriptors.find_method(self.pool, name)
        if method is None:
            raise _invalid(f"the agent hosts {name!r}, but its contract has no such method")
        if is_reserved(method.containing_service.full_name):
            raise _invalid(f"the agent hosts {name!r}, but the coordinator serves that itself")
        return method


class Contracts:
    """All known contracts, oldest first, and the methods in force.

    Attributes:
        policies: the policies of the methods in force.
        admissions: how often `admit` has put methods in force.
        forgotten: how many contracts were forgotten: what others keep by method has had its day when it grows.
        changes: how often contracts came or went, or came into force.
    """

    def __init__(self) -> None:
        self.policies = PolicyTable()
        self.admissions = 0
        self.forgotten = self.changes = 0
        self._contracts: dict[str, Contract] = {}
        # A contract's age: its place in the order of first arrival.
        self._ages: dict[str, int] = {}
        self._arrivals = 0
        self._methods: dict[str, MethodInfo] = {}

    # -- contracts --------------------------------------------------------------------------------------------

    def known(self, digest: str) -> bool:
        """Whether this contract's files are here; if so, agents need not send them."""
        return digest in self._contracts

    def get(self, digest: str) -> Contract | None:
        return self._contracts.get(digest)

    def in_force(self) -> Sequence[Contract]:
        """The contracts in force for some method, newest first."""
        digests = {method.contract for method in self._methods.values()}
        return [self._contracts[each] for each in sorted(digests, key=self._ages.__getitem__, reverse=True)]

    def of_service(self, service: str) -> Contract | None:
        """The newest contract in force for a method of this service."""
        prefix = f"{service}/"
        digests = [info.contract for name, info in self._methods.items() if name.startswith(prefix)]
        return self._contracts[max(digests, key=self._ages.__getitem__)] if digests else None

    def check(
        self, contract: Contract, *, replace_options: bool = False, compared: Compared | None = None
    ) -> Sequence[str]:
        """The methods that `admit` would put in force by this contract. Changes nothing but `compared`.

        Args:
            replace_options: its methods with other options than those in force come into force, also before a newer contract.

        Raises:
            InvalidArgument: a fallback method has other types, or fallbacks go in a circle (CONTRACT_INVALID).
            FailedPrecondition: a method is incompatible with the one in force (CONTRACT_INCOMPATIBLE).
            ResourceExhausted: too many contracts are in force already.
        """
        age = self._ages.get(contract.digest, self._arrivals)
        changed: list[str] = []
        compared = {} if compared is None else compared
        for name, offered in contract.methods.items():
            current = self._methods.get(name)
            if current is None:
                changed.append(name)
            elif current.contract != contract.digest:
                check_compatible(
                    current.descriptor, offered.descriptor, compared.setdefault(current.contract, set())
                )
                if self._ages[current.contract] < age or (
                    replace_options and offered.policy != current.policy
                ):
                    changed.append(name)
        self._check_fallbacks(contract, changed)
        is_new = contract.digest not in self._contracts
        if is_new and len(self._contracts) >= MAX_IN_FORCE + MAX_SUPERSEDED:
            raise refusals.overloaded(f"{MAX_IN_FORCE} contracts are in force: the limit")
        if is_new and _size_bytes([contract, *self._contracts.values()]) > MAX_IN_FORCE_BYTES:
            raise refusals.overloaded(f"contracts of {MAX_IN_FORCE_BYTES} bytes are in force: the limit")
        return changed

    def _check_fallbacks(self, contract: Contract, changed: Sequence[str]) -> None:
        """Check the fallbacks that come into force against all methods that are in force then."""

        def find(name: str) -> tuple[MethodDescriptor, str] | None:
            info = contract.methods[name] if name in coming else self._methods.get(name)
            if info is None:
                return None
            return info.descriptor, "" if info.policy is None else info.policy.fallback

        coming = frozenset(changed)
        for name in changed:
            offered = contract.methods[name]
            if offered.policy is None or not offered.policy.fallback:
                continue
            if fault := fallback_fault(offered.descriptor, offered.policy.fallback, find):
                raise _invalid(f"{name}: option fallback: {fault}")

    def admit(
        self, contract: Contract, *, replace_options: bool = False, compared: Compared | None = None
    ) -> Sequence[str]:
        """Put a contract's methods in force, without those that a newer contract has; returns these methods.

        A known contract keeps its age: an agent that comes back with it displaces no newer contract. With `replace_options`
        it does, where the options differ, and is the newest one then.

        Raises:
            InvalidArgument, FailedPrecondition, ResourceExhausted: as `check`; then nothing has changed.
        """
        changed = self.check(contract, replace_options=replace_options, compared=compared)
        self.admissions += bool(changed)
        self._put(contract, changed)
        return changed

    def load(self, contract: Contract, compared: Compared | None = None) -> None:
        """Put all methods of a contract in force, as the store says.

        Raises:
            FailedPrecondition, ResourceExhausted: as `check`; then nothing has changed.
        """
        self.check(contract, compared=compared)
        self._put(contract, list(contract.methods))

    def _put(self, contract: Contract, changed: Sequence[str]) -> None:
        digest, ages, self.changes = contract.digest, self._ages, self.changes + 1
        displaced = [self._methods[name].contract for name in changed if name in self._methods]
        if digest not in self._contracts or any(ages[each] > ages[digest] for each in displaced):
            self._contracts.setdefault(digest, contract)
            ages[digest] = self._arrivals
            self._arrivals += 1
        self._methods.update((name, contract.methods[name]) for name in changed)
        self.policies.put_methods(contract.methods[name] for name in changed)
        self._forget_superseded()

    def forget(self, digest: str) -> None:
        """Forget a contract that is not needed: its methods are unknown now. Harmless for an unknown contract."""
        if self._contracts.pop(digest, None) is not None:
            del self._ages[digest]
            self.forgotten, self.changes = self.forgotten + 1, self.changes + 1
            gone = [name for name, info in self._methods.items() if info.contract == digest]
            for name in gone:
                del self._methods[name]
            self.policies.remove_methods(gone)

    def _forget_superseded(self) -> None:
        in_force = {method.contract for method in self._methods.values()}
        superseded = [each for digest, each in self._contracts.items() if digest not in in_force]
        while len(superseded) > MAX_SUPERSEDED or _size_bytes(superseded) > MAX_SUPERSEDED_BYTES:
            oldest = superseded.pop(0)
            del self._contracts[oldest.digest], self._ages[oldest.digest]

    # -- methods ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> MethodInfo | None:
        """The method in force; None: it is unknown."""
        return self._methods.get(name)

    def method(self, name: str) -> MethodInfo:
        """The method in force.

        Raises:
            NotFound: METHOD_UNKNOWN; the message names similar methods.
        """
        found = self._methods.get(name)
        if found is None:
            raise refusals.method_unknown(unknown_method(name, self._methods), method=name, called=False)
        return found

    def methods(self) -> Sequence[MethodInfo]:
        """Every method in force, by name."""
        return [self._methods[name] for name in sorted(self._methods)]

    def services(self) -> Sequence[str]:
        """Every service with a method in force, by name."""
        return sorted({name.rpartition("/")[0] for name in self._methods})


def _size_bytes(contracts: Sequence[Contract]) -> int:
    return sum(len(each.file_descriptor_set) for each in contracts)


def _invalid(message: str) -> InvalidArgument:
    return refusals.contract_invalid(message)
