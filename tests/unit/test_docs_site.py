"""The docs site has a page for all that it is generated from, and its links lead to pages of the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pygments.lexers import get_lexer_by_name
from pygments.token import Error

from scripts import docs_reference, docs_site
from tests.support.each_command import leaves
from weft.v1 import errors_pb2


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return docs_reference.pages()


def test_each_command_has_its_help(generated: dict[str, str]) -> None:
    page = generated["reference/command.md"]
    for words in leaves():
        name = " ".join(("weft", *words))
        assert f" {name}\n" in page
        assert f"Usage: {name} " in page


def test_each_reason_and_each_rpc_is_explained(generated: dict[str, str]) -> None:
    for name in errors_pb2.ErrorReason.keys()[1:]:
        assert f"| `{name.removeprefix('ERROR_REASON_')}` | " in generated["reference/errors.md"]
    described = {path.stem for path in (docs_reference.PROTOS / "weft/v1").glob("*.proto")}
    assert {*docs_reference.CONTRACT, "errors"} == described
    for path, file in docs_reference.descriptors().items():
        page = "services" if path.startswith("weft/services/") else "contract"
        for service in file.service:
            for method in service.method:
                rpc = f"#### {method.name}\n\n```protobuf\nrpc {method.name}("
                assert rpc in generated[f"reference/{page}.md"], service.name


def test_examples_are_of_their_language() -> None:
    """Sphinx warns of what its lexers cannot read, and the site is built without warnings."""
    pages = [docs_site.ROOT / "README.md", *sorted(docs_site.DOCS.rglob("*.md"))]
    for page in pages:
        for fence in re.finditer(r"^ *```(\w+)\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
            unread = [
                text for kind, text in get_lexer_by_name(fence[1]).get_tokens(fence[2]) if kind is Error
            ]
            assert not unread, f"{page}: {fence[2]}"


def test_links_out_of_docs_lead_to_pages() -> None:
    pages = docs_site.Pages()
    text = "[a](settings.md#agent) [b](../Makefile) [c](../CONTRIBUTING.md) [d](../protos/weft/v1)\n```\n[e](../Makefile)\n```\n"
    pages.add("how-to/page.md", text, docs_site.DOCS / "page.md")
    pages.add_sources()
    links = docs_site.LINK.findall(pages.text["how-to/page.md"])
    assert links == [
        ("../settings.md", "#agent"),
        ("../source/Makefile.md", ""),
        ("../source/CONTRIBUTING.md", ""),
        ("../reference/contract.md", ""),
        ("../Makefile", ""),
    ]
    assert {"source/Makefile.md", "source/CONTRIBUTING.md"} <= set(pages.text)


def test_pages_that_are_gone_leave_the_site(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("# Old\n")
    pages = docs_site.Pages()
    pages.add("new.md", "# New\n", docs_site.DOCS / "new.md")
    docs_site.write(pages, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.md")) == ["new.md"]
