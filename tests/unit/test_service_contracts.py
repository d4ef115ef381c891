"""Each service that comes with weft is whole: its contract has options and rules, and it is installed, described and documented."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

from scripts import layout
from tests.support.processes import ROOT
from weft.agent import Agent
from weft.agent.hosting.hosted_methods import service_descriptor
from weft.agent.program.service_packages import installed_services, load_service
from weft.rpc.process.extras import REQUIRED
from weft.v1 import options_pb2

FOLDER = ROOT / "services" / "src" / "weft" / "services"
NAMES = sorted(path.name for path in FOLDER.iterdir() if (path / "__init__.py").exists())
SYSTEMS = (ROOT / "docs" / "systems.md").read_text()
# Values that need a bound: a text, bytes or a list of any length, a number that may be no number.
_BOUNDED = {FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def services_of(name: str) -> list[ServiceDescriptor]:
    agent = Agent()
    load_service(name).host(agent)
    return [
        service_descriptor(each) for each in sorted({method.partition("/")[0] for method in agent.methods})
    ]


def fields_within(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """The fields of a request and of its inner messages, without those of protobuf's own."""
    if message.full_name in seen or message.full_name.startswith("google.") or message.GetOptions().map_entry:
        # The rules of a map are those of its field.
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from fields_within(field.message_type, seen)


def test_there_is_one() -> None:
    assert "hardware" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_installed_and_has_an_agent_an_extra_and_settings(name: str) -> None:
    assert installed_services()[name].value == f"weft.services.{name}:package"
    assert callable(importlib.import_module(f"weft.services.{name}").agent)
    assert name in REQUIRED
    package = load_service(name)
    assert package.name == name
    assert package.settings.table == f"services.{name}"
    assert package.settings.model_config["env_prefix"] == f"WEFT_{name.upper()}_"


@pytest.mark.parametrize("name", NAMES)
def test_its_contract_has_options_and_rules(name: str) -> None:
    for service in services_of(name):
        assert service.file.package == f"weft.services.{name}.v1"
        assert service.GetOptions().HasExtension(options_pb2.tasks), f"{service.full_name} has no options"
        for method in service.methods:
            for field in fields_within(method.input_type, set()):
                if field.cpp_type in _BOUNDED or field.is_repeated:
                    # The rules: an extension of the field's options.
                    rules = [known.name for known, _ in field.GetOptions().ListFields()]
                    assert rules, f"{field.full_name} has no rule"


@pytest.mark.parametrize("name", NAMES)
def test_all_of_its_methods_are_hosted_and_described(name: str) -> None:
    agent = Agent()
    load_service(name).host(agent)
    wanted = {f"{each.full_name}/{method.name}" for each in services_of(name) for method in each.methods}
    assert wanted <= set(agent.methods)
    for method in wanted:
        assert f"`{method.rpartition('/')[2]}`" in SYSTEMS, f"docs/systems.md has no row of {method}"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_documented(name: str) -> None:
    assert f"| [`services/{name}`]" in (ROOT / "docs" / "architecture.md").read_text()
    assert (ROOT / "docs" / "how-to" / f"{name}.md").exists()
    assert f"how-to/{name}.md" in (ROOT / "docs" / "README.md").read_text()


def test_the_tests_that_systems_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", SYSTEMS)
    assert named
    assert [path for path in named if not (layout.ROOT / path).exists()] == []
