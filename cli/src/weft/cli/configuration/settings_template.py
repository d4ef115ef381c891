"""The text of a new weft.toml: every setting with its description, allowed values and default, from the models themselves."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weft.rpc.process.file_settings import FileSettings
from weft.rpc.process.setting_faults import allowed_values

_WIDTH = 110
_HEAD = """\
Settings of weft, for the commands that are run in this folder. Every line is a comment: remove the # of a setting to change it.

What comes first: options, then environment variables, then .env, then the profile's tables here, then the other tables here, then
defaults. `weft config show` says what is in force, and from where. Paths are relative to this file. Docs: docs/how-to/settings-files.md.
"""
_ABOUT: Mapping[str, str] = {
    "coordinator": "`weft coordinator`, and that of `weft up`.",
    "agent": "`weft agent`, and those of `weft up`.",
    "sidecar": "`weft agent --app`, beside those of [agent].",
    "client": "Commands that ask a coordinator: `weft call`, `weft tasks`, ...",
}
# What the models say of plain texts and of secrets.
_SAYS_NOTHING = frozenset({"text", "allowed"})
_PROFILE = """\
A profile: its tables come before those above, with `--profile prod` or WEFT_PROFILE=prod.
"""


def template(models: Mapping[str, type[FileSettings]]) -> str:
    """The text of the file.

    Args:
        models: a model for each table.
    """
    lines = [*_comment(_HEAD)]
    for table, model in models.items():
        about = _ABOUT.get(table) or f"`weft agent --with {table.rpartition('.')[2]}`."
        lines += ["", "", *_comment(about), f"[{table}]"]
        for name in model.model_fields:
            lines += ["", *_setting(model, name)]
    lines += [
        "",
        "",
        *_comment(_PROFILE),
        "# [profile.prod.client]",
        '# target = "10.0.0.1:7700,10.0.0.2:7700"',
    ]
    return "\n".join(lines) + "\n"


def _setting(model: type[FileSettings], name: str) -> Iterator[str]:
    field = model.model_fields[name]
    allowed = allowed_values(field.annotation, field.metadata)
    shown = "" if allowed in _SAYS_NOTHING else f" [{allowed}]"
    yield from _comment(" ".join((field.description or "").split()) + shown)
    default = field.default if field.default_factory is None else None
    yield f"#{name} = {_toml(default)}" if default not in (None, "", ()) else f"#{name} ="


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # JSON's texts, numbers, true and false are those of TOML.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _comment(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield "#"
        for line in textwrap.wrap(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False):
            yield f"# {line}"
