"""Puts the pod template of the target release back: `kubectl rollout undo` as a PATCH.

A recipe for `hypercare act` (kind command) and `hypercare gate ... -- COMMAND`. What to
do stands in HYPERCARE_GATE_*, and nothing but Python is needed. Releases are told apart
by the label of pods that UNDO_LABEL names. Ends with 0 only if the Deployment has the
target's template; whatever somebody changed meanwhile is left as it is.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import urllib.parse
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
TIMEOUT_S = 20


class Left(Exception):
    """Nothing was changed; the text says why."""


class Api:
    """Kubernetes' API, as the pod's own account. Redirects are not followed."""

    def __init__(self, url: str, account: Path) -> None:
        place = urllib.parse.urlsplit(url)
        self._host, self._port = place.hostname or "", place.port
        self._token = (account / "token").read_text(encoding="utf-8").strip()
        self._tls: ssl.SSLContext | None = None
        if place.scheme != "http":
            self._tls = ssl.create_default_context(cafile=str(account / "ca.crt"))

    def ask(self, path: str, patch: list[dict[str, Any]] | None = None) -> Any:
        """An object, or what it is after a JSON patch (RFC 6902)."""
        headers = {"Authorization": f"Bearer {self._token}"}
        body, method = None, "GET"
        if patch is not None:
            body, method = json.dumps(patch).encode(), "PATCH"
            headers["Content-Type"] = "application/json-patch+json"
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise Left(f"{path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise Left(f"{path}: {answer.status} {text[:500]!r}")
        return json.loads(text)

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT_S, context=self._tls
        )


def release_of(holder: dict[str, Any], label: str) -> str | None:
    """The release in the pod template of a Deployment or ReplicaSet."""
    labels = holder["spec"]["template"]["metadata"].get("labels", {})
    found: str | None = labels.get(label)
    return found


def undo(api: Api, place: str, name: str, label: str, bad: str, target: str) -> str:
    """Put the target's template back where the bad one is; gives what was done.

    Raises
    ------
    Left
        If another release runs by now, or the target's template is gone.
    """
    path = f"{place}/deployments/{urllib.parse.quote(name, safe='')}"
    present = api.ask(path)
    running = release_of(present, label)
    if running == target:
        return f"{name} is at {target} already"
    if running != bad:
        raise Left(f"{name} is at {running} by now, not at {bad}")
    if present["spec"].get("paused"):
        raise Left(f"{name} is paused: its template would not be rolled out")
    known = _template_of(api, place, present, label, target)
    patch = [
        {
            "op": "test",
            "path": "/metadata/resourceVersion",
            "value": present["metadata"]["resourceVersion"],
        },
        {"op": "replace", "path": "/spec/template", "value": known},
    ]
    changed = api.ask(path, patch)
    if release_of(changed, label) != target:
        raise Left(f"{name} is at {release_of(changed, label)} after the change")
    return f"{name}: {bad} -> {target}"


def _template_of(
    api: Api, place: str, present: dict[str, Any], label: str, target: str
) -> dict[str, Any]:
    """The newest template of a release among the Deployment's own ReplicaSets."""
    wanted = present["spec"]["selector"].get("matchLabels", {})
    chosen = urllib.parse.quote(",".join(f"{k}={v}" for k, v in wanted.items()))
    found = api.ask(f"{place}/replicasets?labelSelector={chosen}")["items"]
    uid = present["metadata"]["uid"]
    own = [
        one
        for one in found
        if any(o["uid"] == uid for o in one["metadata"].get("ownerReferences", []))
        and release_of(one, label) == target
    ]
    if not own:
        raise Left(
            f"no ReplicaSet of {target} is left: revisionHistoryLimit is too low"
        )
    newest = max(own, key=_revision)
    template: dict[str, Any] = newest["spec"]["template"]
    template["metadata"]["labels"].pop(HASH_LABEL, None)
    return template


def _revision(replicas: dict[str, Any]) -> int:
    return int(replicas["metadata"].get("annotations", {}).get(REVISION, 0))


def main() -> int:
    """Do what the environment says."""
    told = {
        name: os.environ.get(f"HYPERCARE_GATE_{name}", "")
        for name in ("ACTION", "SERVICE", "RELEASE", "TARGET")
    }
    if told["ACTION"] != "rollback" or not all(told.values()):
        print(f"a rollback with a target is needed, not {told}", file=sys.stderr)
        return 2
    account = Path(os.environ.get("UNDO_ACCOUNT", ACCOUNT))
    try:
        namespace = os.environ.get("UNDO_NAMESPACE") or (
            (account / "namespace").read_text(encoding="utf-8").strip()
        )
        api = Api(os.environ.get("UNDO_API", "https://kubernetes.default.svc"), account)
        print(
            undo(
                api,
                f"/apis/apps/v1/namespaces/{namespace}",
                os.environ.get("UNDO_DEPLOYMENT") or told["SERVICE"],
                os.environ.get("UNDO_LABEL", "app.kubernetes.io/version"),
                told["RELEASE"],
                told["TARGET"],
            )
        )
    except (Left, OSError, ValueError, KeyError) as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
