"""Reads what `weft provision` writes as the programs that it is for read it: a shell, Compose, Kubernetes."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parents[2]
_SCHEMAS = Path(__file__).with_name("schemas")
# Writes its arguments and its environment to a file.
_RECORDER = '#!/bin/sh\n{ printf "%s\\0" "$#" "$@"; env -0; } > "$RECORD"\n'


class Started(NamedTuple):
    """A command that a text starts: its words after the program, and its variables."""

    words: list[str]
    variables: dict[str, str]


def by_shell(script: str, program: str, folder: Path) -> Started:
    """Run a script in a real shell, where a recorder stands in for the program that it starts."""
    recorder, record = folder / program, folder / "record"
    if not recorder.exists():
        recorder.write_text(_RECORDER)
        recorder.chmod(0o755)
    record.unlink(missing_ok=True)
    run = subprocess.run(
        ["/bin/sh"],
        input=script.encode(),
        cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin", "RECORD": str(record)},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b""), run
    parts = record.read_bytes().decode().split("\0")[:-1]
    count = int(parts[0])
    variables = dict(each.split("=", 1) for each in parts[count + 1 :])
    return Started(parts[1 : count + 1], {k: v for k, v in variables.items() if k not in {"PWD", "RECORD"}})


def by_docker(script: str, folder: Path) -> tuple[Started, list[str]]:
    """What a container starts, and the options of docker run."""
    started = by_shell(script, "docker", folder)
    words = iter(started.words)
    assert next(words) == "run"
    options, variables = [], {}
    for word in words:
        if word == "--env":
            name, equals, value = next(words).partition("=")
            variables[name] = value if equals else started.variables[name]
        elif word.startswith("--"):
            options.append(word)
            if word in {"--name", "--hostname", "--mount"}:
                options.append(next(words))
        else:
            options.append(word)
            break
    return Started(list(words), variables), options


def by_service_script(script: str, etc: str, folder: Path) -> Started:
    """What a service runs that a script for root installs; `etc` is the folder of the token, which is another one here."""
    return of_service(by_shell(script.replace(etc, str(folder)), "weft", folder).words)


def by_powershell(script: str) -> Started:
    """What a service runs that a script for PowerShell installs: its last line."""
    *_, last = script.splitlines()
    program, *words = powershell_words(last.removeprefix("& "))
    assert program == "weft"
    return of_service(words)


def of_service(words: list[str]) -> Started:
    """What `weft service install` is told to run."""
    assert words[:2] == ["service", "install"]
    at = words.index("--")
    variables = dict(
        word.removeprefix("--env=").split("=", 1) for word in words[:at] if word.startswith("--env=")
    )
    (token_file,) = (word for word in words[:at] if word.startswith("--token-file="))
    return Started(words[at + 1 :], variables | {"WEFT_TOKEN_FILE": token_file.partition("=")[2]})


def powershell_words(text: str) -> list[str]:
    """The words of a command, by the rules of PowerShell's own tokenizer: a quote is any of five, and two in a row stand for one."""
    quotes = "'\u2018\u2019\u201a\u201b"
    words, place = [], 0
    while place < len(text):
        word = ""
        if text[place] not in quotes:
            word = text[place:].partition(" ")[0]
            assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*|--?[A-Za-z-]*", word), word
            place += len(word) + 1
        else:
            place += 1
            while not (text[place] in quotes and text[place + 1 : place + 2] not in [*quotes]):
                place += text[place] in quotes
                word += text[place]
                place += 1
            place += 2
            assert place > len(text) or text[place - 1] == " "
        words.append(word)
    return words


def by_compose(text: str) -> dict[str, Any]:
    """The services of a Compose file, checked by Compose's schema, with variables replaced."""
    document = yaml.safe_load(text)
    _compose_schema().validate(document)
    services: dict[str, Any] = _replaced(document)["services"]
    return services


def by_kubernetes(text: str) -> dict[str, Any]:
    """The manifests by their kinds, checked by Kubernetes' schemas: unknown fields are refused."""
    found = {}
    for document in yaml.safe_load_all(text):
        kind = document["kind"]
        _kubernetes_schema(kind).validate(document)
        found[kind] = document
    return found


def by_helm(text: str) -> Started:
    """What an agent's container starts by these values, checked by the chart's schema; the chart adds the rest."""
    values = yaml.safe_load(text)
    schema = json.loads((ROOT / "deploy/helm/weft-agent/values.schema.json").read_text())
    jsonschema.validate(values, schema)
    variables = {each["name"]: _replaced(each["value"]) for each in values["env"]}
    return Started(_replaced(values["args"]), variables | {"WEFT_AGENT_ID": "metadata.name"})


def container(stateful_set: Mapping[str, Any], number: int = 0) -> tuple[Started, Mapping[str, Any]]:
    """What a container of the first pod starts, with the downward API's values by their paths; and the container."""
    each = stateful_set["spec"]["template"]["spec"]["containers"][number]
    variables = {
        one["name"]: _replaced(one["value"]) if "value" in one else one["valueFrom"]["fieldRef"]["fieldPath"]
        for one in each.get("env", [])
    }
    return Started(_replaced(each.get("args", [])), variables), each


@functools.cache
def _compose_schema() -> Any:
    text = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


@functools.cache
def _kubernetes_schema(kind: str) -> Any:
    schema = json.loads((_SCHEMAS / "kubernetes.json").read_text())
    return jsonschema.Draft202012Validator(schema | {"$ref": f"#/$defs/{kind}"})


def _replaced(value: Any) -> Any:
    """As Compose and Kubernetes read texts: "$$" is "$", and a lone "$" would begin a variable."""
    match value:
        case dict():
            return {key: _replaced(each) for key, each in value.items()}
        case list():
            return [_replaced(each) for each in value]
        case str():
            assert all(len(run) % 2 == 0 for run in _dollars(value)), value
            return value.replace("$$", "$")
        case _:
            return value


def _dollars(text: str) -> Iterator[str]:
    return iter(re.findall(r"\$+", text))
