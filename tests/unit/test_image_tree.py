"""The trees of images: what is taken from the lock, and what the Dockerfile does with them."""

from __future__ import annotations

import json
import re

import pytest

from scripts import image_tree
from tests.support.processes import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCK = """\
a==1 ; sys_platform == 'linux' \\
    --hash=sha256:00 \\
    --hash=sha256:01
    # via b
a==2 ; sys_platform != 'linux' \\
    --hash=sha256:02
b-c==3 \\
    --hash=sha256:03
"""


def test_every_hash_of_a_package_is_taken_from_the_lock_and_nothing_of_others() -> None:
    assert image_tree.locked(["a"], LOCK) == LOCK.replace("    # via b\n", "")[: LOCK.index("b-c") - 12]
    with pytest.raises(LookupError, match="lacks d: run `make lock`"):
        image_tree.locked(["a", "d"], LOCK)


def stage(name: str) -> str:
    """The lines of a stage."""
    return re.split(r"^FROM ", DOCKERFILE.split(f" AS {name}\n")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", sorted(image_tree.EXTRAS))
def test_each_image_has_a_tree_a_health_check_and_a_command_and_no_root(name: str) -> None:
    text = stage(name)
    (asked,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    assert json.loads(asked)[:2] == ["weft", "health"]
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert json.loads(command)[0] in ("coordinator", "agent")
    assert re.search(r"^COPY --from=\w+-tree /opt/weft /opt/weft$", text, re.MULTILINE)
    assert re.search(rf"^FROM runtime AS {name}$", DOCKERFILE, re.MULTILINE)
    # What has no RUN can be built for another architecture without emulation.
    assert "RUN" not in text + stage("runtime")
    assert "USER 10001:10001" in stage("runtime")


def test_the_label_says_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f'image.version="{version[1]}"' in stage("runtime")


def test_the_build_is_given_all_that_the_package_has() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    packages = re.search(r"^packages = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages is not None
    for path in [*json.loads(packages[1]), "hatch_build.py", "scripts/image_tree.py"]:
        assert any(
            line.startswith("!") and f"{path}/".startswith(line[1:].rstrip("/") + "/") for line in ignored
        ), path
