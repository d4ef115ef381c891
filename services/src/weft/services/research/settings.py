"""The settings of the research service: WEFT_RESEARCH_* variables, then `[services.research]` of weft.toml, then these defaults."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from weft.rpc.process.file_settings import FileSettings

_METHOD = re.compile(r"[A-Za-z_][\w.]*\.[A-Za-z_]\w*/[A-Za-z_]\w*")


class ResearchSettings(FileSettings):
    """Every setting of the research service."""

    model_config = SettingsConfigDict(env_prefix="WEFT_RESEARCH_", extra="forbid")
    table: ClassVar[str] = "services.research"

    folder: str = Field(
        default="",
        max_length=4096,
        description="the corpus: a folder of this machine. Questions are refused without one. Links in it are not followed, and names that begin with a dot are left out",
    )
    suffixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(".md", ".txt", ".rst", ".adoc", ".csv", ".toml", ".yaml", ".yml", ".proto", ".py", ".go"),
        min_length=1,
        description="ends of the names of files that belong to the corpus",
    )
    max_files: int = Field(
        default=5000, ge=1, le=100_000, description="files of the corpus; others are left out"
    )
    max_file_bytes: int = Field(
        default=1024 * 1024,
        ge=1,
        le=16 * 1024 * 1024,
        description="size of a file; larger ones are left out",
    )
    max_corpus_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1,
        le=1024**3,
        description="sizes of all files together; others are left out",
    )
    sandbox: Literal["auto", "require", "off"] = Field(
        default="auto",
        description="whether a sandbox reads the corpus, without network and with nothing else to see: `auto`: if bubblewrap can make one; `require`: or questions are refused",
    )
    memory_mb: int = Field(
        default=512,
        ge=64,
        le=65_536,
        description="memory of the process that reads the corpus, in its sandbox",
    )
    model: str = Field(
        default="",
        max_length=256,
        description="the model that is asked, unless a question names one; empty: the first one of the models service",
    )
    max_rounds: int = Field(
        default=8, ge=1, le=50, description="answers of the model for one question; then rules answer"
    )
    max_tokens: int = Field(
        default=100_000,
        ge=100,
        le=100_000_000,
        description="tokens for one question, prompts included; then rules answer",
    )
    max_seconds: float = Field(
        default=180.0,
        ge=1.0,
        le=800.0,
        description="seconds for one question; then rules answer",
    )
    tools: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        max_length=32,
        description="methods of the mesh that the model may call, such as `acme.v1.Stock/Get`: what they do, a question of anybody can make them do",
    )
    plug_ins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        max_length=32,
        description="tools of packages that the model may call, by their names in the entry point group `weft.research_tools`, such as a search of the web",
    )
    session_turns: int = Field(
        default=20,
        ge=1,
        le=200,
        description="questions that a session keeps; the oldest are dropped",
    )
    session_ttl_s: float = Field(
        default=7 * 86_400.0,
        ge=1.0,
        le=366 * 86_400.0,
        description="how long a session is kept after its last question",
    )

    @field_validator("suffixes", "tools", "plug_ins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [each.strip() for each in value.split(",") if each.strip()]

    @field_validator("suffixes")
    @classmethod
    def _check_suffixes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not each.startswith(".") or "/" in each or len(each) < 2:
                raise ValueError(f"{each!r} is not the end of a name, such as .md")
        return tuple(each.lower() for each in value)

    @field_validator("tools")
    @classmethod
    def _check_tools(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _METHOD.fullmatch(each):
                raise ValueError(f"{each!r} is not a method, such as acme.v1.Stock/Get")
        return value
