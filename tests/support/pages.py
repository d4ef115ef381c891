"""The README and the pages of docs/ as programs: their fenced blocks, and the pages' blocks as one program or module of tests.

A block that begins with `# name.py` is a file; every other Python block is run as it stands, in a function of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.processes import ROOT, environment

PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}

# A line that a type checker refuses.
_REFUSED = re.compile(r"^.*# error: .*\n", re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")


def blocks(page: str, language: str = "python") -> list[str]:
    """The fenced blocks of a page, such as "docs/client.md"."""
    return re.findall(rf"```{language}\n(.*?)```", PAGES[ROOT / page], re.DOTALL)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in plain}


def write_files(page: str, folder: Path) -> list[str]:
    """Write the page's files; the other blocks, in their order."""
    others = []
    for block in blocks(page):
        if name := _FILE.match(block):
            (folder / name[1]).write_text(block)
        else:
            others.append(block)
    return others


def program(page_blocks: list[str], given: dict[str, str], preamble: str) -> str:
    """A program that runs each block in an async function, which has these names.

    Args:
        given: name -> the expression that makes its value, for each block anew. `mesh` is there.
        preamble: imports.
    """
    functions = [
        f"async def block_{number}({', '.join(given)}):\n{textwrap.indent(_REFUSED.sub('', block), '    ')}"
        for number, block in enumerate(page_blocks)
    ]
    calls = [
        f"        await block_{number}({', '.join(given.values())})\n        print('ran {number}')\n"
        for number in range(len(page_blocks))
    ]
    main = "async def main():\n    async with connect(TARGET) as mesh:\n" + "".join(calls)
    return "\n\n".join([preamble, *functions, main, "asyncio.run(main())\n"])


def run(folder: Path, *command: str) -> str:
    """Run Python in a folder with a page's files; its output."""
    done = subprocess.run(
        [sys.executable, *command],
        env=environment({"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
