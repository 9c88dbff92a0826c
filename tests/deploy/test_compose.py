"""The compose file starts what it says, from files that are there and are tested."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector.rulefile import load_rules
from streams.cli.shadow import PORT
from streams.connectionvars import CONNECTION_VARIABLES
from streams.settings import IDENTITY, PREFIX, VARIABLES, Settings
from tests.contract.golang import go
from tests.rules.programs import monitoring_folder
from tools.build_monitoring import ALERTMANAGER, PROMETHEUS

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
COMPOSE_GO = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SHADOW = ("shadow-topics", "shadow")
OURS = ("topics", "keys", "worker", "gates", "act", "shop", *SHADOW)
ONE_SHOT = ("topics", "keys", "shadow-topics")
KNOWN = (
    {f"{PREFIX}{v.name}" for v in VARIABLES.values()}
    | {PREFIX + name for name in IDENTITY}
    | {f"{PREFIX}KAFKA_{name}" for name in CONNECTION_VARIABLES}
)
names = pytest.mark.parametrize("name", SERVICES)


def mounts(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Source, target and mode of what is mounted from the tree."""
    found = []
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            found.append((source, target, mode[0] if mode else "rw"))
    return found


def test_compose_starts_whole_chain() -> None:
    """Kafka, all programs of ours, and all three that show what they do are there."""
    assert set(SERVICES) == {
        *OURS, "kafka", "prometheus", "alertmanager", "grafana",
    }  # fmt: skip


@pytest.mark.slow
def test_specification_is_kept() -> None:
    """The reference loader of the Compose Specification takes the file, merges what is
    shared, and sees the same services; it is the code that the engines use."""
    said = json.loads(go(ROOT, "run", COMPOSE_GO, "--format", "json", str(FILE)))
    assert set(said["services"]) == set(SERVICES)
    for name in OURS:
        found = said["services"][name]["environment"]
        assert found == SERVICES[name]["environment"], name


@names
def test_image_is_pinned(name: str) -> None:
    """An image has an exact version; ours is built from the tree."""
    image = SERVICES[name]["image"]
    if name in OURS:
        assert image == "hypercare:local"
        assert SERVICES[name]["platform"] == "linux/amd64"
        dockerfile = SERVICES[name]["build"]["dockerfile"]
        assert (ROOT / dockerfile).is_file()
    else:
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", image)


@names
def test_ports_are_on_loopback(name: str) -> None:
    """Nothing that asks for no password can be reached from outside."""
    for port in SERVICES[name].get("ports", []):
        assert str(port).startswith("127.0.0.1:"), port


def test_published_ports_do_not_collide() -> None:
    """Every service has host ports of its own."""
    taken: list[int] = []
    for service in SERVICES.values():
        for port in service.get("ports", []):
            low, _, high = port.split(":")[1].partition("-")
            taken += range(int(low), int(high or low) + 1)
    assert len(taken) == len(set(taken))


@names
def test_service_has_health_check(name: str) -> None:
    """Every service that serves can be asked how it is."""
    check = SERVICES[name]["healthcheck"]
    if name in (*ONE_SHOT, "shop"):
        assert check == {"disable": True}
    else:
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert check["retries"] >= 3


@names
def test_dependencies_can_be_fulfilled(name: str) -> None:
    """A condition waits for a state that the other service can reach."""
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        condition = wanted["condition"]
        if condition == "service_completed_successfully":
            assert other in ONE_SHOT
        elif condition == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"], other
        else:
            assert condition == "service_started"


def test_worker_waits_for_topics() -> None:
    """Worker and shop start only when what they need is there."""
    assert SERVICES["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert "topics" in SERVICES["worker"]["depends_on"]
    assert "worker" in SERVICES["shop"]["depends_on"]


@names
def test_mounted_paths_exist(name: str) -> None:
    """What is mounted is in the tree (an engine would make an empty folder)."""
    for source, _, mode in mounts(SERVICES[name]):
        assert (ROOT / source).exists(), source
        assert mode == "ro", source
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert source.startswith("./") or source in COMPOSE["volumes"], source
    env_file = SERVICES[name].get("env_file")
    assert env_file is None or (ROOT / env_file).is_file()


@pytest.mark.parametrize("name", OURS)
def test_our_variables_are_known(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every HYPERCARE_ variable is a setting and its value is accepted."""
    environment: dict[str, str] = dict(SERVICES[name]["environment"])
    assert set(environment) <= KNOWN
    assert environment["HYPERCARE_DEMO"] == "1"
    for volume in SERVICES[name]["volumes"]:
        source, target = volume.split(":")[:2]
        here = ROOT / source if source.startswith(".") else tmp_path / source
        for variable, value in environment.items():
            environment[variable] = value.replace(target, str(here))
    # What the service `keys` makes.
    for file in ("signs/workers.key", "checks/workers.pub", "checks/gates.tokens"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    settings = Settings.from_environment(environment)
    assert settings.kafka == "kafka:19092"
    assert settings.require_identity_key()


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_locked_down(name: str) -> None:
    """Read-only root, no capabilities, no way to more rights."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_workers_have_the_signing_key() -> None:
    """Who signs has the private key; who checks has not; the tokens' hashes are with
    those who check, and Prometheus has its token alone."""
    found = {
        name: {volume.split(":")[0] for volume in service.get("volumes", [])}
        & {"signs", "checks", "scrapes"}
        for name, service in SERVICES.items()
    }
    assert {name: kept for name, kept in found.items() if kept} == {
        "keys": {"signs", "checks", "scrapes"},
        "worker": {"signs"},
        "gates": {"checks"},
        "act": {"checks"},
        "prometheus": {"scrapes"},
    }
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            if volume.split(":")[0] in found["keys"] and name != "keys":
                assert volume.endswith(":ro"), volume
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert "for name in signs checks scrapes" in dockerfile


def test_versions_are_those_that_are_tested() -> None:
    """The monitoring programs are the newest ones that the tests build."""
    for name, module in (("prometheus", PROMETHEUS), ("alertmanager", ALERTMANAGER)):
        assert SERVICES[name]["image"] == f"prom/{name}:v{module.release}"


@pytest.mark.parametrize("name", ["worker", "shadow"])
def test_worker_stops_in_time(name: str) -> None:
    """The engine waits longer than a worker, or a shadow, takes to end."""
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().shutdown_timeout_s


def test_candidate_is_optional() -> None:
    """Only the profile starts the shadow; nothing else waits for it, its rules load and
    are not the live ones, and its topics are those of its name."""
    for name, service in SERVICES.items():
        assert service.get("profiles", []) == (["shadow"] if name in SHADOW else [])
        assert name in SHADOW or not set(service.get("depends_on", {})) & set(SHADOW)
    shadow = SERVICES["shadow"]
    word, _, rules, _, name = shadow["command"]
    assert (word, name) == ("shadow", SERVICES["shadow-topics"]["command"][-1])
    by_target = {target: source for source, target, _ in mounts(shadow)}
    path = ROOT / by_target[str(Path(rules).parent)] / Path(rules).name
    tried = load_rules(path.read_text(encoding="utf-8"), source=str(path))
    live = load_rules((ROOT / "rules/demo.yaml").read_text("utf-8"), source="demo")
    assert tried.hash != live.hash
    (port,) = shadow["ports"]
    assert port.endswith(f":{PORT}")
    assert shadow["healthcheck"]["test"][-1] == str(PORT)


def test_no_secret_is_in_it() -> None:
    """No password, token or key stands in the file or in what it reads."""
    folder = ROOT / "deploy"
    texts = [
        ROOT / "docker-compose.yml",
        *folder.rglob("*.y*ml"),
        *folder.rglob("*.env"),
    ]
    secret = re.compile(r"(password|token|secret|_key)\s*[:=]\s*\S{6,}", re.IGNORECASE)
    for path in texts:
        for line in path.read_text(encoding="utf-8").splitlines():
            found = secret.search(line)
            assert found is None or "/etc/" in line, f"{path.name}: {line}"


def test_kafka_needs_no_more_nodes() -> None:
    """Every internal topic of the single broker asks for one replica."""
    text = (ROOT / "deploy/compose/kafka.env").read_text(encoding="utf-8")
    settings = dict(
        line.split("=", 1) for line in text.splitlines() if line and line[0] != "#"
    )
    factors = [v for k, v in settings.items() if k.endswith(("_FACTOR", "_MIN_ISR"))]
    assert len(factors) >= 5
    assert set(factors) == {"1"}
    assert settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert "INTERNAL://kafka:19092" in settings["KAFKA_ADVERTISED_LISTENERS"]


def test_prometheus_reads_shipped_rules() -> None:
    """Prometheus judges the alert rules that the tests run, found where it looks."""
    config = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text("utf-8"))
    by_target = {target: source for source, target, _ in mounts(SERVICES["prometheus"])}
    sources = [by_target[path] for path in config["rule_files"]]
    assert sources == ["./rules/prometheus/hypercare.yml"]
    config_flag = "--config.file=/etc/prometheus/prometheus.yml"
    assert config_flag in SERVICES["prometheus"]["command"]
    ports = {}
    for job in config["scrape_configs"]:
        (discovery,) = job["dns_sd_configs"]
        (name,) = discovery["names"]
        ports[name] = discovery["port"]
    known = Settings()
    assert ports == {
        "worker": known.web_port,
        "gates": known.gates_port,
        "act": known.act_port,
    }


def test_alertmanager_inhibits_as_example() -> None:
    """What silences what is the same as in the example that the tests run."""
    ours = yaml.safe_load((ROOT / "deploy/compose/alertmanager.yml").read_text("utf-8"))
    example = yaml.safe_load(
        (ROOT / "rules/alertmanager/alertmanager.example.yml").read_text("utf-8")
    )
    assert ours["inhibit_rules"] == example["inhibit_rules"]
    assert ours["route"]["group_by"] == example["route"]["group_by"]


def test_grafana_finds_what_is_provisioned() -> None:
    """Data sources name services, the dashboard provider a mounted folder."""
    folder = ROOT / "deploy/compose/grafana"
    sources = yaml.safe_load((folder / "datasources.yml").read_text("utf-8"))
    for source in sources["datasources"]:
        name, port = re.fullmatch(r"http://([a-z]+):(\d+)", source["url"]).groups()
        assert name in SERVICES
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
    targets = {target: source for source, target, _ in mounts(SERVICES["grafana"])}
    (provider,) = yaml.safe_load((folder / "dashboards.yml").read_text("utf-8"))[
        "providers"
    ]
    source = ROOT / targets[provider["options"]["path"]]
    assert [p.name for p in source.glob("*.json")] == ["hypercare.json"]
    home = SERVICES["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert home == f"{provider['options']['path']}/hypercare.json"


def test_grafana_creates_no_account() -> None:
    """Anonymous people may look; no default password is ever valid."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_monitoring_files_are_accepted(tmp_path: Path) -> None:
    """Prometheus' and Alertmanager's own checkers accept the mounted files."""
    programs = monitoring_folder()
    config = (ROOT / "deploy/compose/prometheus.yml").read_text(encoding="utf-8")
    rules = str(ROOT / "rules/prometheus/hypercare.yml")
    (tmp_path / "gates.token").write_text("x" * 43)
    config = config.replace("/etc/prometheus/hypercare.yml", rules)
    here = tmp_path / "prometheus.yml"
    here.write_text(config.replace("/etc/prometheus/tokens", str(tmp_path)), "utf-8")
    alertmanager = ROOT / "deploy/compose/alertmanager.yml"
    for command in (
        [programs / "promtool", "check", "config", here],
        [programs / "amtool", "check-config", alertmanager],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
