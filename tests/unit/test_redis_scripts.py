"""Every script of the Redis store is run by it, and every script that it runs is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from weft.coordinator.store.redis import scripts
from weft.coordinator.store.redis.lua_linker import linked


def test_scripts_that_are_run_and_scripts_that_are_there_are_the_same() -> None:
    run = {
        call.args[0].value
        for path in Path(scripts.__file__).parent.glob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "run"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert run == set(scripts._names())


def test_a_script_of_the_fleet_is_its_function() -> None:
    text, digest = scripts._source("register")
    assert text.endswith("\nreturn reply(register())\n")
    assert digest != scripts._source("renew")[1]


# Functions of the scripts that every task needs, and of one that needs none of a task's moves: each run makes them anew.
MOST_FUNCTIONS = {"enqueue": 61, "claim": 56, "complete": 51, "fence": 12}


def test_a_script_has_the_functions_that_it_uses() -> None:
    for name, most in MOST_FUNCTIONS.items():
        functions = re.findall(r"^(?:local )?function (\w+)", scripts._source(name)[0], re.MULTILINE)
        assert len(functions) <= most, (name, functions)


def test_functions_that_nothing_leads_to_are_left_out() -> None:
    unused = """local function unused()
  return unused()
end
"""
    used = """local function f()
  return g()
end
function g()
  return 'unused()', t.unused
end
"""
    rest = """-- unused() is named here.
local g, unused
local t = {unused = 1}
return f()
"""
    assert linked(unused + used + rest) == used + rest


@pytest.mark.parametrize("name", scripts._names())
def test_a_script_defines_the_constants_that_it_names(name: str) -> None:
    """Lua takes a name that it does not know for nil, and says so only where that is used."""
    code = re.sub(r"--[^\n]*|'[^'\n]*'", "", scripts._source(name)[0])
    named = set(re.findall(r"\b[A-Z][A-Z_]+\b", code)) - {"KEYS", "ARGV"}
    defined = {each for names in re.findall(r"local ([A-Z_, ]+) =", code) for each in names.split(", ")}
    assert named <= defined
