"""The manifests are valid, fit each other and ask for what the product keeps to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from detector.rulefile import load_rules
from streams.actuators.config import load as load_actuators
from streams.cli.shadow import PORT
from streams.connectionvars import CONNECTION_VARIABLES
from streams.gate.exposure import check_exposure
from streams.settings import IDENTITY, PREFIX, VARIABLES, Settings
from tests.integration.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy/kubernetes"
KUBERNETES = ("1.29", "1.37")
"""An old release and a new one; what both accept, those between do."""
MEMORY_MEASURED_MIB = 169
"""Largest resident size of a worker with 500 services: docs/deploy.md."""


def load(path: str) -> dict[str, Any]:
    """One YAML document of the base."""
    loaded = yaml.safe_load((BASE / path).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


KUSTOMIZATION = load("kustomization.yaml")
RESOURCES: list[str] = KUSTOMIZATION["resources"]
DEPLOYMENT = load("deployment.yaml")
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
WORKER: dict[str, Any] = POD["containers"][0]
LABELS: dict[str, str] = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]


def settings() -> dict[str, str]:
    """Variables of the settings file."""
    lines = (BASE / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and line[0] != "#")


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", RESOURCES)
def test_manifest_is_valid(path: str, version: str) -> None:
    """Kubernetes' own schema accepts the manifest, strictly."""
    kubernetes_validate.validate(load(path), version, strict=True)


SIDE = ("act", "gates", "shadow")
"""Components that run a program of their own beside the workers."""
SIDE_MANIFESTS = [
    f"components/{name}/{manifest}"
    for name in SIDE
    for manifest in load(f"components/{name}/kustomization.yaml")["resources"]
]
SECRETS = {
    "act": {"workers.pub", "kafka-password", "kafka-ca.pem"},
    "gates": {"workers.pub", "gates.tokens", "kafka-password", "kafka-ca.pem"},
    "shadow": {"kafka-password", "kafka-ca.pem"},
}
OWN_FILES = {
    "act": ["/etc/hypercare/act/actuators.yaml"],
    "gates": ["/etc/hypercare/tls/tls.crt", "/etc/hypercare/tls/tls.key"],
    "shadow": ["/etc/hypercare/candidate/candidate.yaml"],
}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", SIDE_MANIFESTS)
def test_manifest_of_component_is_valid(path: str, version: str) -> None:
    """Kubernetes' own schema accepts what runs act and gates, strictly."""
    kubernetes_validate.validate(load(path), version, strict=True)


def side_pod(name: str) -> dict[str, Any]:
    """The pod template of a component."""
    found: dict[str, Any] = load(f"components/{name}/deployment.yaml")["spec"]
    return found["template"]


@pytest.mark.parametrize("name", SIDE)
def test_component_runs_as_workers_do(name: str) -> None:
    """The same user, image and limits of rights; no worker's label, or the worker's
    disruption budget and policy would count it."""
    pod = side_pod(name)
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["securityContext"] == POD["securityContext"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    assert container["securityContext"] == WORKER["securityContext"]
    assert container["image"] == WORKER["image"]
    labels = pod["metadata"]["labels"]
    assert labels == LABELS | {"app.kubernetes.io/component": name}
    for path in SIDE_MANIFESTS:
        if path.startswith(f"components/{name}/"):
            spec = load(path)["spec"]
            chosen = spec.get("podSelector") or spec["selector"]
            assert chosen.get("matchLabels", chosen) == labels, path


@pytest.mark.parametrize("name", SIDE)
def test_component_starts_with_what_is_mounted(name: str, tmp_path: Path) -> None:
    """The workers' settings and its own are accepted where only its Secret's files and
    its ConfigMap are there: nothing names a file that no volume brings."""
    authority = Authority(tmp_path).file.read_bytes()
    (container,) = side_pod(name)["spec"]["containers"]
    own = {one["name"]: one.get("value", "pod") for one in container["env"]}
    mounted = {m["mountPath"] for m in container["volumeMounts"]}
    files = [f"/etc/hypercare/secret/{file}" for file in SECRETS[name]]
    for file in files + OWN_FILES[name]:
        assert str(Path(file).parent) in mounted, file
        here = tmp_path / file.removeprefix("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_bytes(authority if here.suffix == ".pem" else b"secret\n")
    said = {
        variable: value.replace("/etc/", f"{tmp_path}/etc/")
        for variable, value in (settings() | own).items()
    }
    found = Settings.from_environment(said)
    assert bool(found.public_keys) is (name != "shadow")
    assert not found.signing_keys
    ports = {"act": found.act_port, "gates": found.gates_port, "shadow": PORT}
    (port,) = container["ports"]
    assert port["containerPort"] == ports[name]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]


def test_actors_have_receivers_that_load() -> None:
    """The file of receivers that is shipped tells nobody."""
    assert side_pod("act")["spec"]["containers"][0]["args"] == ["act"]
    text = (BASE / "components/act/actuators.yaml").read_text(encoding="utf-8")
    (nobody,) = load_actuators(text, source="actuators.yaml", environment={})
    assert nobody.kind == "nothing"


def test_candidate_loads_and_has_room() -> None:
    """The shadow starts with the candidate that the component brings, which is not the
    live rule set, and may be as large as a worker that carries all."""
    (shadow,) = side_pod("shadow")["spec"]["containers"]
    (rules,) = OWN_FILES["shadow"]
    assert shadow["args"] == ["shadow", f"--rules={rules}", "--name=candidate"]
    text = (BASE / "components/shadow/candidate.yaml").read_text(encoding="utf-8")
    live = load_rules((BASE / "rules.yaml").read_text("utf-8"), source="rules.yaml")
    assert load_rules(text, source="candidate.yaml").hash != live.hash
    assert shadow["resources"] == WORKER["resources"]
    assert load("components/shadow/deployment.yaml")["spec"]["replicas"] == 1


def test_gates_are_behind_tls_and_tokens() -> None:
    """They are reached by others, so they start only with both; their service's names
    are known to them, and one of two always stays."""
    (gates,) = side_pod("gates")["spec"]["containers"]
    assert gates["args"] == ["gates", "serve"]
    own = {one["name"]: one.get("value") for one in gates["env"]}
    check_exposure(
        own["HYPERCARE_GATES_HOST"],
        has_tokens="HYPERCARE_GATES_TOKENS" in own,
        has_tls={"HYPERCARE_GATES_TLS_CERT", "HYPERCARE_GATES_TLS_KEY"} <= set(own),
        is_plain_allowed="HYPERCARE_GATES_PLAIN" in own,
    )
    assert gates["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    service = load("components/gates/service.yaml")
    assert service["metadata"]["name"] in own["HYPERCARE_WEB_NAMES"].split(",")
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (Settings().gates_port, "https")
    assert load("components/gates/deployment.yaml")["spec"]["replicas"] == 2
    budget = load("components/gates/poddisruptionbudget.yaml")["spec"]
    assert budget["maxUnavailable"] == 1


def test_signing_patch_fits_the_worker() -> None:
    """It names the worker's Deployment and container, and mounts the key it names
    where nothing else is."""
    (patch,) = load("components/signing/kustomization.yaml")["patches"]
    patched = load(f"components/signing/{patch['path']}")
    assert patched["metadata"]["name"] == DEPLOYMENT["metadata"]["name"]
    pod = patched["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == WORKER["name"]
    (variable,) = container["env"]
    assert variable["name"] == "HYPERCARE_SIGNING_KEYS"
    (mount,) = container["volumeMounts"]
    assert str(Path(variable["value"]).parent) == mount["mountPath"]
    assert mount["readOnly"] is True
    assert mount["mountPath"] not in {m["mountPath"] for m in WORKER["volumeMounts"]}
    (volume,) = pod["volumes"]
    assert volume["name"] == mount["name"]
    assert volume["name"] not in {v["name"] for v in POD["volumes"]}
    assert volume["secret"]["defaultMode"] & 0o007 == 0


def test_wrong_manifest_is_found() -> None:
    """The validator is awake: text where a number belongs is refused."""
    wrong = load("deployment.yaml")
    wrong["spec"]["replicas"] = "2"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


def test_kustomization_names_every_file() -> None:
    """Every file of the base is used and every file used is there."""
    named = set(RESOURCES) | {"kustomization.yaml"}
    for generator in KUSTOMIZATION["configMapGenerator"]:
        named |= set(generator.get("files", [])) | set(generator.get("envs", []))
    assert named == {path.name for path in BASE.iterdir() if path.is_file()}
    component = load("components/prometheus-operator/kustomization.yaml")
    for path in component["resources"]:
        assert (BASE / "components/prometheus-operator" / path).is_file()


def test_rules_are_shipped_ones() -> None:
    """The rule file of the ConfigMap is the default one, byte for byte."""
    ours = (BASE / "rules.yaml").read_bytes()
    assert ours == (ROOT / "rules/default.yaml").read_bytes()
    assert load_rules(ours.decode(), source="rules.yaml")


def test_settings_are_known() -> None:
    """Every variable is one of Hypercare's, and paths are where they are mounted."""
    known = (
        {f"{PREFIX}{v.name}" for v in VARIABLES.values()}
        | {PREFIX + name for name in IDENTITY}
        | {f"{PREFIX}KAFKA_{name}" for name in CONNECTION_VARIABLES}
    )
    own = {entry["name"] for entry in WORKER["env"]}
    assert set(settings()) | own <= known
    assert not set(settings()) & own
    mounted = {m["mountPath"] for m in WORKER["volumeMounts"]}
    for name, value in settings().items():
        if value.startswith("/"):
            assert str(Path(value).parent) in mounted, name


def test_settings_are_accepted(tmp_path: Path) -> None:
    """What needs no files of the cluster is accepted as it stands."""
    plain = {k: v for k, v in settings().items() if not v.startswith("/")}
    plain = {k: v for k, v in plain.items() if not k.startswith("HYPERCARE_KAFKA_")}
    found = Settings.from_environment(plain)
    assert found.web_port == WORKER["ports"][0]["containerPort"]
    assert found.replication == 3


def test_secrets_are_files_only() -> None:
    """Secrets come as files of one Secret: no value and no variable holds one."""
    (volume,) = [v for v in POD["volumes"] if v["name"] == "secret"]
    given = {
        f"/etc/hypercare/secret/{item['path']}" for item in volume["secret"]["items"]
    }
    wanted = {v for v in settings().values() if v.startswith("/etc/hypercare/secret/")}
    assert given == wanted
    assert volume["secret"]["defaultMode"] & 0o007 == 0
    for name in settings():
        assert not re.search(r"(PASSWORD|SECRET|IDENTITY_KEY)$", name)
    assert not any("secretKeyRef" in str(entry) for entry in WORKER["env"])


def test_labels_match_everywhere() -> None:
    """Everything that selects pods selects these, and the service is scraped."""
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        load("service.yaml")["spec"]["selector"],
        load("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"],
        load("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(selector == LABELS for selector in selectors)
    monitor = load("components/prometheus-operator/servicemonitor.yaml")
    assert monitor["spec"]["selector"]["matchLabels"] == LABELS
    assert load("service.yaml")["metadata"]["labels"] == LABELS
    (pairs,) = [entry["pairs"] for entry in KUSTOMIZATION["labels"]]
    assert pairs == LABELS


def test_ports_go_by_name() -> None:
    """Probes, service, policy and monitor use the port that the worker opens."""
    (port,) = WORKER["ports"]
    assert int(settings()["HYPERCARE_WEB_PORT"]) == port["containerPort"]
    assert load("service.yaml")["spec"]["ports"][0]["targetPort"] == port["name"]
    policy = load("networkpolicy.yaml")["spec"]
    assert policy["ingress"][0]["ports"][0]["port"] == port["name"]
    monitor = load("components/prometheus-operator/servicemonitor.yaml")
    assert monitor["spec"]["endpoints"][0]["port"] == "metrics"
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])


@pytest.mark.parametrize(
    ("probe", "path"),
    [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ],
)
def test_probe_asks_right_page(probe: str, path: str) -> None:
    """Life is /healthz, readiness is /readyz: a lost broker restarts nobody."""
    assert WORKER[probe]["httpGet"] == {"path": path, "port": "metrics"}


def test_pod_has_no_rights() -> None:
    """Non-root, read-only root, no capability, default seccomp, no token."""
    context = WORKER["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] == 10001
    assert POD["automountServiceAccountToken"] is False


def test_cluster_adds_no_variables() -> None:
    """No service variables: HYPERCARE_PORT and the like would be taken for ours."""
    assert POD["enableServiceLinks"] is False


def test_worker_may_end_orderly() -> None:
    """The grace period is longer than an orderly end; no hook delays it."""
    grace_s = POD["terminationGracePeriodSeconds"]
    assert grace_s > Settings().shutdown_timeout_s
    assert "lifecycle" not in WORKER


def test_one_worker_always_stays() -> None:
    """Two replicas, one disruption at a time, none less during an update."""
    assert DEPLOYMENT["spec"]["replicas"] == 2
    assert load("poddisruptionbudget.yaml")["spec"]["maxUnavailable"] == 1
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_memory_is_what_was_measured() -> None:
    """The request covers what 500 services need, the limit twice as much."""
    resources = WORKER["resources"]
    request = int(resources["requests"]["memory"].removesuffix("Mi"))
    limit = int(resources["limits"]["memory"].removesuffix("Mi"))
    assert MEMORY_MEASURED_MIB < request
    assert limit == 2 * request
    assert "cpu" not in resources["limits"]


def test_writable_paths_are_mounted() -> None:
    """The only place to write is /tmp; rules and secrets are read-only folders."""
    by_path = {m["mountPath"]: m for m in WORKER["volumeMounts"]}
    assert set(by_path) == {"/tmp", "/etc/hypercare/rules", "/etc/hypercare/secret"}
    assert all("subPath" not in m for m in by_path.values())
    writable = [path for path, m in by_path.items() if not m.get("readOnly")]
    assert writable == ["/tmp"]


def test_image_is_named_once() -> None:
    """The version of the image is the version of the product."""
    (image,) = KUSTOMIZATION["images"]
    version = re.search(
        r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M
    )
    assert version is not None
    assert image == {"name": "hypercare", "newTag": version[1]}
    assert WORKER["image"] == f"hypercare:{version[1]}"
