"""The settings of the models service: WEFT_MODELS_* variables, then `[services.models]` of weft.toml, then these defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from weft.rpc import bounded_json
from weft.rpc.process.file_settings import FileSettings
from weft.rpc.security.secret_text import SecretText

KINDS = ("ollama", "openai", "rules")
# The backend of those who name none.
LOCAL = "ollama+http://127.0.0.1:11434"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_ADDRESS = re.compile(r"(?P<kind>ollama|openai)\+(?P<url>https?://[^\s@]+)|rules\+(?P<path>\S+)")
_MAX_KEYS_BYTES = 64 * 1024


class ModelsSettings(FileSettings):
    """Every setting of the models service."""

    model_config = SettingsConfigDict(env_prefix="WEFT_MODELS_", extra="forbid")
    table: ClassVar[str] = "services.models"

    backends: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        validate_default=True,
        max_length=16,
        description="the backends, each a name and KIND+URL: `local=openai+http://127.0.0.1:8000/v1`. `ollama`; `openai`, which is"
        " every server that speaks OpenAI's API: vLLM, llama.cpp, LiteLLM, hosted ones; and `rules` with a path of rules. None:"
        f" `local={LOCAL}`",
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        max_length=64,
        description="the models that answer, best first, each BACKEND/MODEL: a call without a model asks the first one, and those behind a model are its"
        " fallbacks. Empty: a call without a model asks the first model of the first backend that has one",
    )
    keys: SecretStr | None = Field(
        default=None,
        description="the keys of backends that want one, each NAME=KEY, with commas",
    )
    keys_file: Path | None = Field(
        default=None,
        description="a file with the same, a line for each key; it is read once, at the start",
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0.0, le=600.0, description="how long a connection to a backend may take"
    )
    first_token_timeout_s: float = Field(
        default=120.0,
        ge=0.1,
        le=3600.0,
        description="how long a backend may think before it says anything: it may have to load the model",
    )
    next_token_timeout_s: float = Field(
        default=30.0, ge=0.1, le=3600.0, description="how long a backend may be silent within an answer"
    )

    breaker_failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="after so many failures in a row, a backend is not asked for a while",
    )
    breaker_open_s: float = Field(default=30.0, ge=0.1, le=3600.0, description="for how long it is not asked")
    context_tokens: Annotated[dict[str, float], NoDecode] = Field(
        default_factory=dict,
        max_length=256,
        description="windows of models, MODEL=TOKENS each, or BACKEND/MODEL=TOKENS: they come before what backends tell",
    )
    prompt_prices: Annotated[dict[str, float], NoDecode] = Field(
        default_factory=dict,
        max_length=256,
        description="what a million tokens of prompts cost, for each MODEL or BACKEND/MODEL, in any currency: the unit `cost` of tasks",
    )
    completion_prices: Annotated[dict[str, float], NoDecode] = Field(
        default_factory=dict, max_length=256, description="the same for tokens of answers"
    )
    embed_model: str = Field(
        default="",
        max_length=256,
        description="the model that makes vectors if a call names none; empty: as for answers",
    )
    embed_batch_size: int = Field(
        default=32, ge=1, le=1024, description="most calls of Embed that are one request to the backend"
    )
    embed_batch_wait_s: float = Field(
        default=0.01, ge=0.0, le=1.0, description="how long a call of Embed waits for others"
    )
    model_labels: bool = Field(
        default=True,
        description="the agent has a label for each model, `model.NAME`: `loaded`, `stored`, or `ready` if its backend does not tell; of at most 40",
    )

    @field_validator("backends", "context_tokens", "prompt_prices", "completion_prices", mode="before")
    @classmethod
    def _split_pairs(cls, value: Any) -> Any:
        return _pairs(value) if isinstance(value, str) else value

    @field_validator("context_tokens", "prompt_prices", "completion_prices")
    @classmethod
    def _check_amounts(cls, value: dict[str, float]) -> dict[str, float]:
        for name, amount in value.items():
            if not (0 <= amount < 2**53):
                raise ValueError(f"{name[:80]}: it must be a number, 0 or above")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return tuple(value) if isinstance(value, list) else value

    @field_validator("backends")
    @classmethod
    def _check_backends(cls, value: dict[str, str]) -> dict[str, str]:
        value = value or {"local": LOCAL}
        for name, address in value.items():
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name[:80]!r} is no name: it has 1 to 64 of a-z, 0-9, '-' and '_', and begins with a letter or digit"
                )
            if not _ADDRESS.fullmatch(address):
                # Not the address itself: people put keys there.
                raise ValueError(
                    f"the address of {name} must be KIND+URL, such as openai+http://127.0.0.1:8000/v1,"
                    f" without user or key in it; kinds: {', '.join(KINDS)}"
                )
        return value

    @model_validator(mode="after")
    def _check_models(self) -> ModelsSettings:
        for entry in self.models:
            backend, _, model = entry.partition("/")
            if backend not in self.backends or not model:
                raise ValueError(
                    f"models: {entry[:80]!r} must be BACKEND/MODEL, with one of the backends {', '.join(self.backends)}"
                )
        return self

    def address(self, backend: str) -> tuple[str, str]:
        """The kind and the URL of a backend, or the path of its rules."""
        found = _ADDRESS.fullmatch(self.backends[backend])
        assert found is not None
        return (found["kind"], found["url"].rstrip("/")) if found["kind"] else ("rules", found["path"])

    def read_keys(self) -> Mapping[str, SecretText]:
        """The keys by backend.

        Raises:
            ValueError: a text is none of keys, or names a backend that does not exist. The message has no key.
            OSError: the file cannot be read.
        """
        found: dict[str, str] = {}
        if self.keys_file is not None:
            with self.keys_file.open("rb") as file:
                content = file.read(_MAX_KEYS_BYTES + 1)
            if len(content) > _MAX_KEYS_BYTES:
                raise ValueError(f"keys_file: {self.keys_file} is too large to be one of keys")
            lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
            found |= _keys([line for line in lines if line and not line.startswith("#")], "keys_file")
        if self.keys is not None:
            found |= _keys([part for part in self.keys.get_secret_value().split(",") if part.strip()], "keys")
        for name in found:
            if name not in self.backends:
                raise ValueError(f"keys: there is no backend {name[:64]!r}")
        return {name: SecretText(key) for name, key in found.items()}


def _pairs(text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return bounded_json.loads(text)
        except ValueError:
            raise ValueError("it is no JSON object") from None
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError("it is NAME=VALUE, with commas")
        found[name.strip()] = value.strip()
    return found


def _keys(entries: list[str], place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        name, equals, key = entry.partition("=")
        key = key.strip()
        if (
            not equals
            or not _NAME.fullmatch(name.strip())
            or not key
            or not key.isascii()
            or not key.isprintable()
        ):
            raise ValueError(f"{place}: entry {number} must be NAME=KEY")
        found[name.strip()] = key
    return found
