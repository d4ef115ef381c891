"""A real kube-apiserver on a real etcd: it takes and refuses objects as a cluster's does, and asks RBAC; no pod runs, since nothing else of a cluster is there.

with ApiServer(folder) as server:
    server.apply(manifest)
    assert server.read(manifest)["spec"] == ...
    server.write_config(folder / "config", server.token_of("weft", "weft-coordinator"))
"""

from __future__ import annotations

import json
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from tests.support.beside import free_address
from tests.support.certificates import TestAuthority
from tests.support.processes import Process

ADMIN = "admin-of-the-test"
_WAIT_S = 60.0
_TRIES = 3
_MANAGER = "weft-test"

Object = dict[str, Any]


class Refused(Exception):
    """The server has refused a request.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.status_code}: {answer.text[:2000]}")
        self.status = answer.status_code


def programs() -> tuple[str, str]:
    """Where etcd and kube-apiserver are; skips the test where one of them is not, in CI too: the second is dear to build."""
    go = Path.home() / "go" / "bin"
    etcd = shutil.which("etcd") or shutil.which("etcd", path=str(go))
    server = shutil.which("kube-apiserver") or shutil.which("kube-apiserver", path=str(go))
    if etcd is None or server is None:
        lacks = [] if etcd else ["etcd (Debian: apt install etcd-server)"]
        lacks += [] if server else ["kube-apiserver (make kube-apiserver, many minutes of two cores)"]
        pytest.skip(f"not installed: {', '.join(lacks)}")
    return etcd, server


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds, looking often.

    Raises:
        TimeoutError
    """
    ends_at = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"after {_WAIT_S:g} s still not: {what}")
        time.sleep(0.02)


class ApiServer:
    """The two processes, and a client of one who may do everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self.address = ""
        self._authority = TestAuthority(folder, "kubernetes")
        self._processes: list[Process] = []
        self._client = httpx.Client()
        # Of a kind: the path of its collection without the namespace, and whether there is one.
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        etcd, server = programs()
        try:
            for attempt in range(_TRIES):
                # Another process may take a port between the choice and the bind.
                if self._started(etcd, server, self.folder / str(attempt)):
                    return self
                self._end()
        except BaseException:
            self._end()
            raise
        raise RuntimeError(f"kube-apiserver did not start: {self._processes[-1].output()[-3000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._client.close()
        for process in reversed(self._processes):
            process.cleanup()

    def _started(self, etcd: str, server: str, folder: Path) -> bool:
        """Start both; False if one has ended."""
        folder.mkdir()
        store, self.address = f"http://{free_address()}", f"https://{free_address()}"
        words = ["--data-dir", str(folder / "etcd"), "--listen-client-urls", store]
        words += ["--advertise-client-urls", store, "--listen-peer-urls", "http://127.0.0.1:0"]
        self._processes = [Process("etcd", [etcd, *words], log=folder / "etcd.log")]
        words = [f"--{name}={value}" for name, value in self._settings(store, folder).items()]
        self._processes += [Process("kube-apiserver", [server, *words], log=folder / "api.log")]
        self._client = self.client(ADMIN)

        def ready() -> bool:
            try:
                return self._client.get("/readyz").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        def alive() -> bool:
            return all(each.alive for each in self._processes)

        wait_until(lambda: not alive() or ready(), "kube-apiserver is ready")
        return alive()

    def _settings(self, store: str, folder: Path) -> Mapping[str, str]:
        pair = self._authority.issue("kube-apiserver")
        (cert := folder / "tls.crt").write_bytes(pair.certificate)
        (key := folder / "tls.key").write_bytes(pair.key)
        (tokens := folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n')
        return {
            "etcd-servers": store,
            "bind-address": "127.0.0.1",
            "secure-port": self.address.rpartition(":")[2],
            "tls-cert-file": str(cert),
            "tls-private-key-file": str(key),
            "cert-dir": str(folder),
            "token-auth-file": str(tokens),
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.0.0.0/24",
            # Tokens of service accounts are signed by the key that the server has anyway.
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-signing-key-file": str(key),
            "service-account-key-file": str(cert),
            # One server, which few ask.
            "endpoint-reconciler-type": "none",
            "enable-priority-and-fairness": "false",
        }

    def client(self, token: str, **how: Any) -> httpx.Client:
        """A client of whoever the token is of. Close it."""
        trust = ssl.create_default_context(cafile=str(self._authority.ca))
        who = {"Authorization": f"Bearer {token}"}
        return httpx.Client(
            base_url=self.address, verify=trust, headers=who, timeout=30, trust_env=False, **how
        )

    def write_config(self, path: Path, token: str = ADMIN, namespace: str = "default") -> Path:
        """Write a KUBECONFIG."""
        named = {"name": "test"}
        cluster = {"server": self.address, "certificate-authority": str(self._authority.ca)}
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [named | {"cluster": cluster}],
            "users": [named | {"user": {"token": token}}],
            "contexts": [named | {"context": context}],
        }
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    # -- objects --------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Object | None = None, **query: str) -> Object:
        """Ask as the administrator. Warnings are kept.

        Raises:
            Refused: the server has refused it.
        """
        # Who applies says so; JSON is YAML.
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        answer = self._client.request(
            method,
            path,
            params=query,
            headers={"Content-Type": kind},
            content=json.dumps(body) if body else None,
        )
        self.warnings += answer.headers.get_list("Warning")
        if answer.is_error:
            raise Refused(answer)
        found: Object = answer.json()
        return found

    def apply(self, given: Object, namespace: str = "default", *, dry: bool = False) -> Object:
        """Server-side apply; an unknown or doubled field is an error. Returns what the server has made of it.

        Raises:
            Refused: the server has refused it.
        """
        how = {"fieldManager": _MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry else {})
        return self.request("PATCH", self.path(given, namespace), given, **how)

    def read(self, given: Object, namespace: str = "default") -> Object:
        """The stored object of this kind and name."""
        return self.request("GET", self.path(given, namespace))

    def path(self, given: Object, namespace: str = "default") -> str:
        """Of an object."""
        version, metadata = given["apiVersion"], given["metadata"]
        if (version, given["kind"]) not in self._kinds:
            group = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for each in self.request("GET", group)["resources"]:
                if "/" not in each["name"]:
                    self._kinds[version, each["kind"]] = (f"{group}/{{}}{each['name']}", each["namespaced"])
        form, namespaced = self._kinds[version, given["kind"]]
        space = f"namespaces/{metadata.get('namespace', namespace)}/" if namespaced else ""
        return f"{form.format(space)}/{metadata['name']}"

    def make_namespace(self, name: str, level: str = "restricted") -> None:
        """Make a namespace, whose pods may do what this level of pod security allows, with the account that a controller makes in each."""
        security = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": security}})
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, name)

    def define(self, group: str, version: str, kind: str, schema: Object) -> None:
        """Make a kind of objects, whose schema is known, and wait until the server serves it."""
        plural = f"{kind.lower()}s"
        names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
        served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        metadata: Object = {"name": f"{plural}.{group}"}
        if group.endswith(".k8s.io"):
            # The server wants to know who has agreed to a name of Kubernetes' own.
            metadata["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test"}
        made = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": metadata,
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [served]},
        }
        self.apply(made)
        wait_until(lambda: self._serves(f"/apis/{group}/{version}", plural), f"{kind} is served")

    def _serves(self, group: str, plural: str) -> bool:
        try:
            return any(each["name"] == plural for each in self.request("GET", group)["resources"])
        except Refused:
            return False

    # -- rights ---------------------------------------------------------------------------------------------------

    def token_of(self, namespace: str, account: str) -> str:
        """A token of a service account, as its pods get one."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        made = self.request(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        )
        token: str = made["status"]["token"]
        return token

    def rights(self, namespace: str, account: str, within: str) -> set[tuple[str, str, str]]:
        """What an account may do within a namespace besides what everybody may: verbs, resources ("group/name"), and names ("*": any)."""
        found = set(self._rules(self.token_of(namespace, account), within))
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}, "default")
        return found - set(self._rules(self.token_of("default", "nobody"), within))

    def _rules(self, token: str, within: str) -> Iterator[tuple[str, str, str]]:
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": within},
        }
        with self.client(token) as client:
            answer = client.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", json=asked)
        status = answer.raise_for_status().json()["status"]
        assert not status["incomplete"], status
        for rule in status["resourceRules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames", ["*"]):
                            yield verb, f"{group}/{resource}", name
        for rule in status["nonResourceRules"]:
            yield from ((verb, path, "*") for verb in rule["verbs"] for path in rule["nonResourceURLs"])
