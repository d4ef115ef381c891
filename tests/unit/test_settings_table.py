"""The page of settings says of each setting what its model enforces, and is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from scripts import settings_table
from weft.rpc.process.file_settings import FileSettings


class Example(FileSettings):
    model_config = SettingsConfigDict(env_prefix="EX_")

    mode: Literal["a", "b"] = Field("a", description="what it\n does")
    wait_s: float = Field(2.0, ge=0.5, le=60, description="how long")
    size_bytes: int = Field(1024, ge=1, description="how large")
    file: Path | None = Field(None, description="a|b")
    password: SecretStr | None = Field(None, description="what nobody may see")
    target: tuple[str, ...] = Field(
        ("h:1", "h:2"), validation_alias=AliasChoices("ex_target", "target"), description="where"
    )
    labels: dict[str, str] = Field(default_factory=dict, description="which")
    name: str = Field(default_factory=lambda: "drawn", description="who")


def test_a_row_says_all_about_a_setting() -> None:
    assert list(settings_table.rows(Example)) == [
        ("`mode`", "`EX_MODE`", "`a`, `b`", "`a`", "what it does"),
        ("`wait_s`", "`EX_WAIT_S`", "seconds, 0.5 to 60", "`2`", "how long"),
        ("`size_bytes`", "`EX_SIZE_BYTES`", "bytes, at least 1", "`1024`", "how large"),
        ("`file`", "`EX_FILE`", "path", "none", "a\\|b"),
        ("`password`", "`EX_PASSWORD`", "secret text", "none", "what nobody may see"),
        ("`target`", "`EX_TARGET`, `TARGET`", "list with commas", "`h:1,h:2`", "where"),
        ("`labels`", "`EX_LABELS`", "`key=value` with commas, or JSON", "none", "which"),
        ("`name`", "`EX_NAME`", "text", "chosen at the start", "who"),
    ]


def test_a_setting_must_have_a_description_and_a_known_type() -> None:
    class Silent(FileSettings):
        wait_s: float = 1.0

    class Odd(FileSettings):
        what: bytes = Field(b"", description="bytes")

    with pytest.raises(settings_table.Undescribed, match=r"Silent\.wait_s has no description"):
        list(settings_table.rows(Silent))
    with pytest.raises(settings_table.Undescribed, match=r"Odd\.what: no words for the type"):
        list(settings_table.rows(Odd))


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["settings_table.py", "--check"])
    assert settings_table.main() == 0
    stale = tmp_path / "settings.md"
    stale.write_text(settings_table.page() + "more")
    monkeypatch.setattr(settings_table, "PAGE", stale)
    monkeypatch.setattr(settings_table, "ROOT", tmp_path)
    assert settings_table.main() == 1
