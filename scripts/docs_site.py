"""Build the docs site: `python scripts/docs_site.py` (or `--check`: warnings and broken links fail, nothing else is said).

    README.md, CONTRIBUTING.md, docs/**/*.md ─┐
    scripts/docs_reference.py ────────────────┼─► build/site/source ─► Sphinx ─► build/site/html
    source files that pages link to ──────────┘

Pages link to each other, and to files of the repository, by relative paths, so that they can be read without the site too.
Every file that a page links to becomes a page of the site.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scripts import docs_reference

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"

# A file of the repository -> the page that shows it better than its source.
SHOWN_BY = {
    "README.md": "index.md",
    "docs/README.md": "index.md",
    "docs": "index.md",
    "cli/src/weft/cli": "reference/command.md",
    "client/src/weft/client": "reference/python.md",
    "protos/weft/v1": "reference/contract.md",
    "protos/weft/services": "reference/services.md",
    "protos/weft/v1/errors.proto": "reference/errors.md",
}
LINK = re.compile(r"(?<=\]\()([^()\s#]+)(#[^()\s]*)?(?=\))")
LANGUAGES = {
    ".py": "python", ".proto": "protobuf", ".lua": "lua", ".go": "go", ".js": "javascript", ".java": "java",
    ".yaml": "yaml", ".toml": "toml", ".json": "json", ".sh": "bash",
}  # fmt: skip


class Pages:
    """The pages of the site by their paths, and the files of the repository that become pages because of links to
    them."""

    def __init__(self) -> None:
        self.text: dict[str, str] = {}
        self._waiting: list[Path] = []
        self._known: set[str] = set()

    def add(self, path: str, text: str, origin: Path) -> None:
        """A page whose links are relative to `origin`."""
        self._known.add(path)
        fences = re.split(r"(^ *```.*?^ *```$)", text, flags=re.DOTALL | re.MULTILINE)
        for index in range(0, len(fences), 2):
            fences[index] = LINK.sub(lambda match: self._link(match, path, origin), fences[index])
        self.text[path] = "".join(fences)

    def _link(self, match: re.Match[str], page: str, origin: Path) -> str:
        target, anchor = match[1], match[2] or ""
        if ":" in target:
            return match[0]
        file = (origin.parent / target).resolve()
        if not file.is_relative_to(ROOT) or not file.exists():
            return match[0]  # Sphinx warns of it.
        name = str(file.relative_to(ROOT))
        if name in SHOWN_BY:
            shown = SHOWN_BY[name]
        elif file.is_relative_to(DOCS) and file.is_file():
            shown = str(file.relative_to(DOCS)).removesuffix("/README.md") + (
                "/index.md" if file.name == "README.md" else ""
            )
        else:
            shown = f"source/{name}" + ("" if file.suffix == ".md" else ".md")
            if shown not in self._known:
                self._known.add(shown)
                self._waiting.append(file)
        return os.path.relpath(shown, Path(page).parent) + anchor

    def add_sources(self, *, whole: bool = True) -> None:
        """A page for each file and folder that pages link to. Not `whole`: without the text of the files."""
        while self._waiting:
            # Folders last: they link to those of their files that have a page by then.
            file = self._waiting.pop(next((at for at, path in enumerate(self._waiting) if path.is_file()), 0))
            name = str(file.relative_to(ROOT))
            head = "---\norphan: true\nnosearch: true\n---\n\n"
            if file.suffix == ".md":
                self.add(f"source/{name}", head + file.read_text(), file)
            elif file.is_dir():
                self.add(f"source/{name}.md", head + self._folder_page(file), file / "_")
            else:
                language = LANGUAGES.get(file.suffix, "text")
                # A fence longer than any in the file.
                block = (
                    f"````````{{code-block}} {language}\n:linenos:\n:force:\n\n{file.read_text()}````````\n"
                )
                body = f"# {name}\n\n" + block * whole
                self.text[f"source/{name}.md"] = head + body

    def _folder_page(self, folder: Path) -> str:
        """The contents of a folder: the first sentence of each file."""
        rows = []
        for path in sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name)):
            if path.name.startswith((".", "__")) or path.name == "py.typed":
                continue
            name = f"`{path.name}{'/' * path.is_dir()}`"
            if f"source/{path.relative_to(ROOT)}" + ("" if path.suffix == ".md" else ".md") in self._known:
                name = f"[{name}]({path.name})"
            rows.append(f"| {name} | {first_sentence(path)} |")
        return f"# {folder.relative_to(ROOT)}\n\n| | |\n|---|---|\n" + "\n".join(rows) + "\n"


def first_sentence(path: Path) -> str:
    file = path / "__init__.py" if path.is_dir() else path
    if file.suffix != ".py" or not file.exists():
        return ""
    found = re.match(r'\s*"""(.*?)(?:\n\n|""")', file.read_text(), re.DOTALL)
    return " ".join(found[1].split()).replace("|", "\\|").replace("*", "\\*") if found else ""


def tables_of_contents(page: str) -> Iterator[str]:
    """The site's navigation: the lists of docs/README.md, a heading each."""
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        yield toctree(title, LINK.findall(body))


def toctree(caption: str, links: Iterable[tuple[str, str]]) -> str:
    """The pages behind the links of a README, for the navigation."""
    names = [re.sub(r"(^|/)README\.md$", r"\1index.md", target) for target, _ in links]
    entries = (SHOWN_BY.get(os.path.normpath(f"docs/{name}"), name).removesuffix(".md") for name in names)
    head = f":caption: {caption}\n" if caption else ""
    return f"\n```{{toctree}}\n:hidden:\n{head}\n" + "\n".join(entries) + "\n```\n"


def collect(*, whole: bool = True) -> Pages:
    pages = Pages()
    contents = "".join(tables_of_contents((DOCS / "README.md").read_text()))
    pages.add("index.md", (ROOT / "README.md").read_text() + contents, ROOT / "README.md")
    for file in sorted(DOCS.rglob("*.md")):
        name = str(file.relative_to(DOCS))
        if name != "README.md":
            text = file.read_text()
            if file.name == "README.md":
                text += toctree("", LINK.findall(text))
            pages.add(re.sub(r"(^|/)README\.md$", r"\1index.md", name), text, file)
    for name, text in docs_reference.pages().items():
        pages.add(name, text, DOCS / name)
    pages.add_sources(whole=whole)
    return pages


def write(pages: Pages, folder: Path) -> None:
    """Write the pages that changed: Sphinx reads those again and no others."""
    wanted = {folder / name for name in pages.text}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()
    for name, text in pages.text.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for picture in DOCS.glob("*.svg"):
        shutil.copyfile(picture, folder / picture.name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="build and print only errors")
    check = parser.parse_args().check
    source = SITE / "source"
    # What is in source files is no matter of the site's.
    write(collect(whole=not check), source)
    quiet = ["--quiet"] if check else ["--quiet", "--color"]
    cache = ["-d", str(SITE / "cache")]
    from sphinx.cmd.build import build_main

    code = build_main(
        [*quiet, "-W", "--keep-going", "-b", "html", "-c", str(DOCS), *cache, str(source), str(SITE / "html")]
    )
    if code != 0:
        # Sphinx does not repeat its warnings about pages that it has read.
        shutil.rmtree(SITE / "cache", ignore_errors=True)
    elif not check:
        print(f"open {(SITE / 'html' / 'index.html').relative_to(ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
