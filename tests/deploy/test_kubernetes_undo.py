"""The recipe that puts a Deployment's former template back, against an API like it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "actuators" / "kubernetes_undo.py"
PLACE = "/apis/apps/v1/namespaces/prod"
LABEL = "app.kubernetes.io/version"
TOKEN = "account-token"


def template(release: str, digest: str = "") -> dict[str, Any]:
    """A pod template of a release, as in a Deployment or, with a hash, a ReplicaSet."""
    labels = {"app": "shop", LABEL: release}
    if digest:
        labels["pod-template-hash"] = digest
    containers = [{"name": "shop", "image": f"shop:{release}"}]
    return {"metadata": {"labels": labels}, "spec": {"containers": containers}}


def replicas(release: str, revision: int, owner: str = "uid-shop") -> dict[str, Any]:
    """A ReplicaSet that a Deployment left."""
    return {
        "metadata": {
            "name": f"shop-{revision}",
            "labels": {"app": "shop"},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"kind": "Deployment", "uid": owner}],
        },
        "spec": {"template": template(release, f"h{revision}")},
    }


class Cluster:
    """A Deployment and its ReplicaSets; patches are applied all or nothing."""

    def __init__(self) -> None:
        self.deployment: dict[str, Any] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "shop", "uid": "uid-shop", "resourceVersion": "7"},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "template": template("2"),
            },
        }
        self.replicas = [
            replicas("1", 9),
            replicas("1", 10),
            replicas("2", 11),
            replicas("1", 99, owner="uid-other"),
        ]
        self.replicas[1]["spec"]["template"]["spec"]["hostNetwork"] = False
        self.patches: list[list[dict[str, Any]]] = []
        self.meanwhile = False
        self.ignores = False

    def patch(self, operations: list[dict[str, Any]]) -> int:
        """Apply a JSON patch of the two operations that the recipe may use."""
        self.patches.append(operations)
        if self.meanwhile:
            self.deployment["metadata"]["resourceVersion"] = "8"
        changed = copy.deepcopy(self.deployment)
        for one in operations:
            *parents, last = one["path"].split("/")[1:]
            holder = changed
            for part in parents:
                holder = holder[part]
            if one["op"] == "test" and holder[last] != one["value"]:
                return 422
            if one["op"] == "replace":
                holder[last] = one["value"]
        if not self.ignores:
            self.deployment = changed
        return 200


@pytest.fixture
def cluster() -> Cluster:
    """Release 2 runs, release 1 ran before."""
    return Cluster()


@pytest.fixture
def api(cluster: Cluster) -> Iterator[str]:
    """Where the cluster answers."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.answer(401, {"reason": "Unauthorized"})
            elif asked.path == f"{PLACE}/deployments/shop":
                self.answer(200, cluster.deployment)
            elif asked.path == f"{PLACE}/replicasets":
                assert parse_qs(asked.query) == {"labelSelector": ["app=shop"]}
                self.answer(200, {"items": cluster.replicas})
            else:
                self.answer(404, {"reason": "NotFound"})

        def do_PATCH(self) -> None:
            assert self.headers["Content-Type"] == "application/json-patch+json"
            size = int(self.headers["Content-Length"])
            status = cluster.patch(json.loads(self.rfile.read(size)))
            self.answer(status, cluster.deployment)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(api: str, folder: Path, **told: str) -> tuple[int, str]:
    """The recipe's exit code and what it says."""
    (folder / "token").write_text(TOKEN)
    (folder / "namespace").write_text("prod\n")
    wanted = {"ACTION": "rollback", "SERVICE": "shop", "RELEASE": "2", "TARGET": "1"}
    known = {f"HYPERCARE_GATE_{k}": v for k, v in {**wanted, **told}.items()}
    found = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, **known, "UNDO_API": api, "UNDO_ACCOUNT": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return found.returncode, found.stdout + found.stderr


def test_newest_own_template_comes_back(
    cluster: Cluster, api: str, tmp_path: Path
) -> None:
    """The Deployment has the newest template of the target that was its own, without
    the hash that Kubernetes adds; done again there is nothing left to do."""
    assert run(api, tmp_path) == (0, "shop: 2 -> 1\n")
    expected = template("1")
    expected["spec"]["hostNetwork"] = False
    assert cluster.deployment["spec"]["template"] == expected
    assert run(api, tmp_path) == (0, "shop is at 1 already\n")
    assert len(cluster.patches) == 1


def test_what_others_changed_is_left(
    cluster: Cluster, api: str, tmp_path: Path
) -> None:
    """A release of meanwhile, and a change between look and patch, are left alone."""
    cluster.meanwhile = True
    code, said = run(api, tmp_path)
    assert (code, "422" in said) == (1, True)
    assert cluster.deployment["spec"]["template"] == template("2")
    cluster.deployment["spec"]["template"] = template("3")
    code, said = run(api, tmp_path)
    assert (code, "shop is at 3 by now, not at 2" in said) == (1, True)


def test_no_success_without_change(cluster: Cluster, api: str, tmp_path: Path) -> None:
    """A paused Deployment, a template that is gone, and a patch without effect fail."""
    cluster.ignores = True
    assert run(api, tmp_path)[0] == 1
    cluster.deployment["spec"]["paused"] = True
    code, said = run(api, tmp_path)
    assert (code, "paused" in said) == (1, True)
    del cluster.deployment["spec"]["paused"]
    code, said = run(api, tmp_path, TARGET="0")
    assert (code, "revisionHistoryLimit" in said) == (1, True)


@pytest.mark.parametrize("told", [{"ACTION": "halt"}, {"TARGET": ""}])
def test_only_rollbacks_are_carried_out(
    cluster: Cluster, api: str, tmp_path: Path, told: dict[str, str]
) -> None:
    """Another action, or nowhere to go, is wrong use and asks nobody."""
    assert run(api, tmp_path, **told)[0] == 2
    assert cluster.patches == []


def test_nobody_there_is_a_failure(tmp_path: Path) -> None:
    """An API that does not answer is told in a line, without a traceback."""
    code, said = run("http://127.0.0.1:1", tmp_path)
    assert (code, said.count("\n")) == (1, 1)
