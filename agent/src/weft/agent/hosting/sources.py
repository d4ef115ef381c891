"""Hosted methods made again in an isolated process, from the sources that the agent sent there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weft.agent.hosting import secret_names
from weft.agent.hosting.functions import function_method
from weft.agent.hosting.hosted_methods import FunctionSource, HostedMethod, ServicerSource, servicer_methods


def from_sources(sources: Iterable[ServicerSource | FunctionSource]) -> Mapping[str, HostedMethod]:
    """The hosted methods of sources, made again in an isolated process."""
    hosted: list[HostedMethod] = []
    for source in sources:
        if isinstance(source, ServicerSource):
            hosted.extend(servicer_methods(source.add, source.servicer))
        else:
            hosted.append(function_method(source.method, source.function))
    secret_names.declare(hosted)
    return {method.name: method for method in hosted}
