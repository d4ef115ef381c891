"""The guard of sizes finds what is past each bar, and this repository passes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sizes

PLACE = "client/src/weft/client/tasks.py"


def of_class(methods: int, parameters: int = 0, doc: str = "A class.") -> str:
    body = [f"  def __init__(self, {', '.join(f'p{n}' for n in range(parameters))}): ..."]
    body += [f"  def m{n}(self): ..." for n in range(methods)]
    return "\n".join(["class Wide:", f"  '''{doc}'''", *body])


def of_function(lines: int, parameters: str = "") -> str:
    return "\n".join([f"def long({parameters}):", *["  pass"] * (lines - 1)])


OPTIONS = ",\n".join(f"p{n}: Annotated[str, typer.Option('--p{n}')] = ''" for n in range(80))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\n" * 400, ""),
        ("\n" * 401, f"{PLACE}: 401 lines"),
        (of_function(60), ""),
        (of_function(61), f"{PLACE}:1: long has 61 lines"),
        ("class A:\n  async " + of_function(61).replace("\n", "\n  "), f"{PLACE}:2: long has 61 lines"),
        (of_function(61, OPTIONS), ""),
        (of_function(62, OPTIONS), "long has 61 lines"),
        (of_class(15, parameters=7), ""),
        (of_class(16), f"{PLACE}:1: Wide has 16 methods"),
        (of_class(1, parameters=8), f"{PLACE}:3: the constructor of Wide has 8 parameters"),
        (of_class(16, 8, "A class. Large because it is a test."), ""),
        (of_class(16, 8, "A class.\n\n  Large because it is\n  a test."), ""),
        (of_class(16, doc="A class. Large because"), "Wide has 16 methods"),
        (of_class(16, doc="A class that is Large because it is a test."), "Wide has 16 methods"),
        (of_class(10) + "\n  @overload\n  def m1(self): ..." * 6, ""),
    ],
)
def test_each_bar(tmp_path: Path, text: str, wanted: str):
    path = tmp_path / PLACE
    path.parent.mkdir(parents=True)
    path.write_text(text)
    found = [*sizes.problems(tmp_path)]
    assert found == [] if not wanted else [wanted in each for each in found] == [True]


def test_scripts_of_the_store_have_a_bar_and_the_generated_contract_has_none(tmp_path: Path):
    for name in (
        "gen/weft/v1/large_pb2.py",
        "coordinator/src/weft/coordinator/store/redis/scripts/large.lua",
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("\n" * 500)
    (found,) = sizes.problems(tmp_path)
    assert "large.lua: 500 lines" in found
