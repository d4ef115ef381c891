"""The rules of hosted methods: compiled from the descriptors of their messages, and switched off by the option `check_rules`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pool import DescriptorPool

from weft.agent.hosting import secret_names
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.hosting.hosted_policies import in_protos
from weft.agent.hosting.payload_checks import PayloadChecks
from weft.rpc.contracts.payload_rules import PayloadRules
from weft.rpc.errors import InvalidArgument
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")


def with_rules(methods: Sequence[HostedMethod]) -> list[HostedMethod]:
    """The same methods with the checks of their messages. Their secret fields are declared to logs and traces.

    Rules that do not compile are left out here: the coordinator refuses the contract, and names them.
    """
    secret_names.declare(methods)
    in_proto = in_protos(methods)
    pools: dict[int, PayloadRules] = {}
    made = []
    for method in methods:
        policy = method.policy or in_proto.get(method.name)
        off = policy is not None and policy.HasField("check_rules") and not policy.check_rules
        made.append(method if off else dataclasses.replace(method, checks=_checks(method, pools)))
    return made


def _checks(method: HostedMethod, pools: dict[int, PayloadRules]) -> PayloadChecks | None:
    try:
        request, response = (_rules_of(each.file.pool, pools).of(each) for each in method.types)
    except InvalidArgument as error:
        _log.error("rules.not_compiled", method=method.name, error=error.message)
        return None
    if request is None and response is None:
        return None
    return PayloadChecks(method.name, method.types, request, response)


def _rules_of(pool: DescriptorPool, pools: dict[int, PayloadRules]) -> PayloadRules:
    if pool is descriptor_pool.Default():
        return _of_program()
    return pools.setdefault(id(pool), PayloadRules(pool))


@cache
def _of_program() -> PayloadRules:
    """The rules in the program's own generated modules."""
    return PayloadRules(descriptor_pool.Default())
