"""Declares the secret fields of hosted methods to the logs and traces of this process."""

from __future__ import annotations

from collections.abc import Iterable

from weft.agent.hosting.hosted_methods import HostedMethod
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.process.redaction import declare_secrets


def declare(methods: Iterable[HostedMethod]) -> None:
    """Let values of these methods' secret fields be left out wherever their names stand before them."""
    secrets = SecretFields()
    types = {each for method in methods for each in method.types}
    declare_secrets(name for each in types for name in secrets.within(each))
