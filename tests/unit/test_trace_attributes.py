"""The names of attributes are those of the published conventions, and of no deprecated ones."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from opentelemetry.semconv import _incubating
from opentelemetry.semconv import attributes as stable

from weft.rpc.telemetry import attributes

OURS = {
    name: value
    for name, value in vars(attributes).items()
    if name.isupper() and isinstance(value, str) and "." in value
}
OTHERS = {name: value for name, value in OURS.items() if not value.startswith("weft.")}


def published() -> set[str]:
    """Every attribute of the conventions that is not deprecated."""
    import ast
    from pathlib import Path

    found: set[str] = set()
    for package in (stable, importlib.import_module(f"{_incubating.__name__}.attributes")):
        for module in pkgutil.iter_modules(package.__path__):
            place = Path(next(iter(package.__path__))) / f"{module.name}.py"
            body = ast.parse(place.read_text()).body
            for node, after in zip(body, [*body[1:], None], strict=True):
                if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Constant):
                    continue
                text = (
                    after.value.value
                    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    else ""
                )
                if "Deprecated:" not in str(text):
                    found.add(str(node.value.value))
    return found


@pytest.fixture(scope="module")
def conventions() -> set[str]:
    return published()


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_is_published_under_its_own_constant(conventions: set[str], name: str) -> None:
    assert OTHERS[name] in conventions
    assert name == OTHERS[name].upper().replace(".", "_")


def test_the_reading_knows_deprecated_names(conventions: set[str]) -> None:
    assert {"rpc.service", "rpc.system", "messaging.operation"}.isdisjoint(conventions)
    assert "rpc.system.name" in conventions


def test_names_are_unique() -> None:
    assert len(set(OURS.values())) == len(OURS)
