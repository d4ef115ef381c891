"""The Helm chart of agents: its values, its schema and its templates know the same names; Helm, where it is, makes sound manifests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.support import provisioned
from tests.support.processes import ROOT
from tests.support.provision_requests import HOSTILE, TOKEN, rendered, request
from weft.coordinator.provisioning.kinds.helm_kind import CHART

FOLDER = ROOT / CHART
SCHEMA = json.loads((FOLDER / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((FOLDER / "values.yaml").read_text())


def test_values_schema_and_templates_know_the_same_names() -> None:
    # Helm itself gives "global".
    known = SCHEMA["properties"].keys() - {"global"}
    assert DEFAULTS.keys() == known
    used = {
        name
        for file in (FOLDER / "templates").iterdir()
        for name in re.findall(r"\.Values\.(\w+)", file.read_text())
    }
    assert used == known
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("changed", [{}, {"imag": "x"}, {"token": ""}, {"env": []}, {"replicas": 65}])
def test_the_schema_refuses_what_cannot_work(changed: dict[str, object]) -> None:
    good = yaml.safe_load(rendered(request("helm")).text)
    values = DEFAULTS | (good | changed if changed else {})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)


@pytest.mark.skipif(shutil.which("helm") is None, reason="needs helm")
def test_helm_makes_what_kubernetes_takes(tmp_path: Path) -> None:
    more = {f"env__ODD_{number}": value for number, value in enumerate(HOSTILE)}
    asked = request(
        "helm",
        "w",
        target="mesh.example:7700",
        tls_ca="weft-ca",
        replicas="3",
        app_image="acme/app:2",
        **more,
    )
    (values := tmp_path / "values.yaml").write_text(rendered(asked).text)
    command = ["helm", "template", "w", str(FOLDER), "--values", str(values)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    manifests = provisioned.by_kubernetes(text)
    assert manifests["Secret"]["stringData"] == {"token": TOKEN}
    assert manifests["StatefulSet"]["spec"]["replicas"] == 3
    run, _ = provisioned.container(manifests["StatefulSet"])
    assert [run.variables[f"ODD_{number}"] for number in range(len(HOSTILE))] == HOSTILE
    assert run.variables["WEFT_TLS_CA"] == "/etc/weft/ca/ca.pem"
