"""The settings of the repositories service: WEFT_REPOSITORIES_* variables, then `[services.repositories]` of weft.toml, then these defaults."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from weft.rpc import bounded_json
from weft.rpc.process.file_settings import FileSettings
from weft.services.repositories.credentials import Credential, CredentialError
from weft.services.repositories.remote_urls import HOST


class RepositoriesSettings(FileSettings):
    """Every setting of the repositories service."""

    model_config = SettingsConfigDict(env_prefix="WEFT_REPOSITORIES_", extra="forbid")
    table: ClassVar[str] = "services.repositories"

    folder: str = Field(
        default="",
        description="folder of the workspaces, for this user alone; unless set, `weft-repositories-UID` in the folder for temporary files. Each namespace has"
        " a folder of its own in it. Agents of one machine may share it",
    )
    hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("github.com",),
        description="hosts of remotes that may be used, `HOST` or `HOST:PORT`; a name such as `*.example.com` stands for all below it",
    )
    plain_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="hosts that may be used by plain http, too: credentials and code can be read and changed on the way",
    )
    credentials: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description="credentials by name, each `env:VARIABLE@HOST/PATTERN` or `file:PATH@HOST/PATTERN`, such as `bot=env:GITHUB_TOKEN@github.com/acme/*`. The"
        " variable or the file has a token, or `USER:PASSWORD`; it is read when it is used, and given to that host alone, for repositories whose path is as the pattern",
    )
    github_api: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description="URLs of GitHub's API by host; unless set, `https://api.github.com` for github.com, and `https://HOST/api/v3` for others",
    )
    author_name: str = Field(
        default="weft",
        min_length=1,
        max_length=200,
        description="who writes and makes commits, unless a call names an author",
    )
    author_email: str = Field(
        default="weft@localhost", min_length=1, max_length=200, description="the address of that author"
    )
    max_workspaces: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="workspaces that the folder may have; further ones are refused",
    )
    max_repository_bytes: int = Field(
        default=1 << 30,
        ge=1 << 16,
        le=1 << 42,
        description="most bytes of what git keeps of a repository, and most bytes of its checked out files",
    )
    max_files: int = Field(
        default=200_000, ge=1, le=10_000_000, description="most files of a commit that is checked out"
    )
    idle_ttl_s: float = Field(
        default=86_400.0,
        ge=10.0,
        le=366 * 86_400.0,
        description="a workspace that is not used for so long is deleted, with all that is not pushed",
    )
    network_timeout_s: float = Field(
        default=900.0, ge=1.0, le=86_400.0, description="most time that git may take to fetch or to push"
    )
    timeout_s: float = Field(
        default=60.0,
        ge=1.0,
        le=3600.0,
        description="most time that git may take for anything else, and that a call waits for its workspace",
    )
    max_git: int = Field(
        default=8,
        ge=1,
        le=256,
        description="processes of git that run at a time; further calls wait for their turn",
    )
    symlinks: bool = Field(
        default=False,
        description="symbolic links of repositories are checked out as links; else as files with their targets, which programs in the workspace cannot follow"
        " out of it. The service itself never follows one",
    )

    @field_validator("hosts", "plain_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [each.strip().lower() for each in value.split(",") if each.strip()]

    @field_validator("hosts", "plain_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not HOST.fullmatch(host.removeprefix("*.")):
                raise ValueError(f"{host!r} is not a host, such as github.com or *.example.com:8443")
        return value

    @field_validator("credentials", "github_api", mode="before")
    @classmethod
    def _split_pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            try:
                return bounded_json.loads(value)
            except ValueError:
                # Without the text: somebody may have put a secret there.
                raise ValueError("it is not a JSON object") from None
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not key.strip() or not equals for key, equals, _ in pairs):
            raise ValueError("it is neither name=value,name=value nor a JSON object")
        return {key.strip(): text.strip() for key, _, text in pairs}

    @field_validator("credentials")
    @classmethod
    def _check_credentials(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            try:
                Credential.parse(name, text)
            except CredentialError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("github_api")
    @classmethod
    def _check_apis(cls, value: dict[str, str]) -> dict[str, str]:
        for host, url in value.items():
            if not HOST.fullmatch(host) or not url.startswith(("https://", "http://")):
                raise ValueError(f"{host!r} is not a host, or its value no URL")
        return value

    @field_validator("author_name", "author_email")
    @classmethod
    def _check_author(cls, value: str) -> str:
        if any(char in "<>" or ord(char) < 0x20 for char in value):
            raise ValueError("it has a character that git does not take in names")
        return value

    def parsed_credentials(self) -> list[Credential]:
        """The credentials, in their order."""
        return [Credential.parse(name, text) for name, text in self.credentials.items()]
