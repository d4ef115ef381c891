"""Sphinx's configuration of the docs site. `scripts/docs_site.py` prepares the pages and runs Sphinx; `make docs` runs that."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

from weft.rpc.process.version import VERSION

project = "weft"
author = "the weft authors"
release = version = VERSION
extensions = ["myst_parser", "sphinx.ext.autodoc"]
# Docstrings have code in single backticks.
default_role = "code"
nitpicky = True
# Types of other libraries and of modules that are not for users have no page here.
nitpick_ignore_regex = [(r"py:.*", r".*")]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"weft {VERSION}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["site.css"]

# Of pages of source files, by the depth of their folders and what is asked for.
_NAVIGATION: dict[tuple[object, ...], str] = {}
_SECTION = re.compile(r"(Args|Raises|Returns|Yields|Attributes|Example|Examples|Note):$")
_GOOGLE = Config(napoleon_use_rtype=False)
_ITEM = re.compile(r"([-*] |\d+\. |`[^`]+`$)")


def docstring(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """A docstring, which is plain text with sections (`Args:`), as Sphinx reads it.

    An indented paragraph is a program or a picture, unless it belongs to a section or to a list.
    """
    done: list[str] = []
    owner, in_block = "", False
    for index, line in enumerate(lines):
        indented = line.startswith("    ")
        if line and not indented:
            owner, in_block = line, False
        starts = indented and not in_block and (index == 0 or not lines[index - 1])
        if starts and not _SECTION.match(owner) and not _ITEM.match(owner):
            done += [".. code-block:: python" if _is_python(lines[index:]) else ".. code-block:: text", ""]
            in_block = True
        done.append(line if in_block else escaped(line))
    lines[:] = GoogleDocstring(done, _GOOGLE).lines()


def escaped(line: str) -> str:
    """Docstrings are plain text with code in backticks: nothing else in them is markup."""
    parts = re.split(r"(`[^`]*`)", line)
    parts[::2] = [re.sub(r"(\*|\||_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    # `Method`s: a letter may not follow the markup.
    return re.sub(r"(`[^`]*`)(?=\w)", r"\1\\ ", "".join(parts))


def _is_python(lines: list[str]) -> bool:
    """Whether the indented lines that come first read as a program."""
    block: list[str] = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    try:
        compile(
            "async def _():\n" + "\n".join("  " + line for line in block) + "\n  pass", "docstring", "exec"
        )
    except SyntaxError:
        return False
    return True


def navigation(
    _app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: nodes.document | None
) -> None:
    """The navigation, which is most of the time of a build: it has titles of pages only, where Sphinx copies all headings for each page
    and drops them; and it is the same for all pages of source files in folders as deep, since it leads to none of them."""
    whole = context.get("toctree")
    if whole is None:
        return

    def made(**asked: Any) -> str:
        return str(whole(**asked | {"maxdepth": 2}))

    def kept(**asked: Any) -> str:
        key = page.count("/"), *sorted(asked.items())
        if key not in _NAVIGATION:
            _NAVIGATION[key] = made(**asked)
        return _NAVIGATION[key]

    context["toctree"] = kept if page.startswith("source/") else made


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", docstring)
    # Before the theme asks for it.
    app.connect("html-page-context", navigation, priority=100)
