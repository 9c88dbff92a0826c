"""Keys, gates and act as the compose file starts them, without its engine."""

from __future__ import annotations

import os
import runpy
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.gate.access import Scope, Tokens
from streams.kafka_local import LocalKafka, free_ports
from streams.settings import Settings
from streams.signing import Signer, Verifier
from streams.topics import create_missing
from tests.integration.support import until
from tests.rules.programs import monitoring_folder

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load(
    (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
)["services"]
PORTS = {
    "gates": "HYPERCARE_GATES_PORT",
    "act": "HYPERCARE_ACT_PORT",
    "shadow": "--port",
}
PREFIX = "compose"


def keys(folder: Path, *words: str) -> int:
    """What the service `keys` does, with its volumes in a folder."""
    for name in ("signs", "checks", "scrapes"):
        (folder / name).mkdir(exist_ok=True)
    main = runpy.run_path(str(ROOT / "deploy/compose/keys.py"))["main"]
    return int(main(folder, list(words)))


def test_keys_are_made_once(tmp_path: Path) -> None:
    """What one key signs the other checks; private is private; a second start changes
    nothing, or everybody's tokens and signatures would be worth nothing."""
    assert keys(tmp_path) == 0
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p.name for p in files} == {
        "workers.key", "workers.pub", "gates.tokens", "gates.token",
    }  # fmt: skip
    private = tmp_path / "signs" / "workers.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    signature = Signer.load([private]).header("t", b"k", b"v")
    Verifier.load([tmp_path / "checks" / "workers.pub"]).check(
        "t", b"k", b"v", signature
    )
    assert keys(tmp_path) == 0
    assert {p: p.read_bytes() for p in files} == files


def test_people_get_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A further token is shown once and known by its hash, beside Prometheus' own."""
    keys(tmp_path)
    assert keys(tmp_path, "ada", "act") == 0
    shown = capsys.readouterr().out.strip()
    tokens = Tokens.load(tmp_path / "checks" / "gates.tokens")
    ada = tokens.bearer(shown)
    assert ada is not None
    assert (ada.name, ada.scope) == ("ada", Scope.ACT)
    scraper = tokens.bearer((tmp_path / "scrapes" / "gates.token").read_text())
    assert scraper is not None
    assert scraper.scope is Scope.READ


@pytest.mark.parametrize("words", [["ada"], ["ada", "root"], ["a b", "act"]])
def test_wrong_words_are_refused(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage is told, and no token is made."""
    assert keys(tmp_path, *words) == 2
    assert "usage: keys [NAME read|act|admin]" in capsys.readouterr().err
    assert list(tmp_path.rglob("gates.tokens")) == []


@contextmanager
def started(name: str, folder: Path, kafka: str, port: int) -> Iterator[None]:
    """A service with the file's words and variables, its volumes in a folder."""
    service = SERVICES[name]
    places = {
        "/var/lib/hypercare": str(folder),
        "/etc/hypercare/rules": str(ROOT / "rules"),
        "/etc/hypercare/act": str(ROOT / "deploy/compose/act"),
        "/etc/hypercare/shadow": str(ROOT / "deploy/compose/shadow"),
    }
    environment, words = dict(service["environment"]), list(service["command"])
    for there, here in places.items():
        environment = {k: v.replace(there, here) for k, v in environment.items()}
        words = [word.replace(there, here) for word in words]
    environment |= {"HYPERCARE_KAFKA": kafka, "HYPERCARE_PREFIX": PREFIX}
    if PORTS[name].startswith("--"):
        words += [PORTS[name], str(port)]
    else:
        environment[PORTS[name]] = str(port)
    with (folder / f"{name}.log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", *words],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=out,
            stderr=out,
        )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0, (folder / f"{name}.log").read_text()


def healthy(name: str, port: int) -> bool:
    """What the service's own health check says."""
    *_, script, asked = SERVICES[name]["healthcheck"]["test"]
    assert script == "/opt/hypercare/healthcheck.py"
    (published,) = SERVICES[name]["ports"]
    assert published.endswith(f":{asked}")
    command = [sys.executable, ROOT / "deploy/healthcheck.py", str(port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def asked(port: int, token: str, host: str) -> int:
    """Status of the metrics page under a name, with a token."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics",
        headers={"Authorization": f"Bearer {token}", "Host": host},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def scraped(folder: Path, ports: dict[str, int]) -> Iterator[int]:
    """Prometheus with the file's jobs, these at ports; its own port."""
    text = (ROOT / "deploy/compose/prometheus.yml").read_text(encoding="utf-8")
    config = yaml.safe_load(text.replace("/etc/prometheus/tokens", f"{folder}/scrapes"))
    jobs = []
    for job in config["scrape_configs"]:
        ((discovery,),) = (job.pop("dns_sd_configs"),)
        if discovery["names"][0] in ports:
            address = f"127.0.0.1:{ports[discovery['names'][0]]}"
            jobs.append(job | {"static_configs": [{"targets": [address]}]})
    own = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(own), encoding="utf-8")
    port = free_ports(1)
    command = [
        str(monitoring_folder() / "prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


def jobs_up(port: int) -> set[str]:
    """Jobs of which Prometheus could read the last page."""
    url = f"http://127.0.0.1:{port}/api/v1/query?query=up%3D%3D1"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = yaml.safe_load(answer.read())["data"]["result"]
    except OSError:
        return set()
    return {one["metric"]["job"] for one in found}


@pytest.mark.kafka
@pytest.mark.slow
def test_gates_and_act_serve(kafka: LocalKafka, tmp_path: Path) -> None:
    """Both become healthy by their own checks; the gates let in who has a token, under
    the name that containers call; Prometheus reads both pages."""
    create_missing(Settings(kafka=kafka.bootstrap, prefix=PREFIX))
    keys(tmp_path)
    token = (tmp_path / "scrapes" / "gates.token").read_text()
    first = free_ports(2)
    ports = {"gates": first, "act": first + 1}
    with ExitStack() as stack:
        for name, port in ports.items():
            stack.enter_context(started(name, tmp_path, kafka.bootstrap, port))
        for name, port in ports.items():
            until(lambda n=name, p=port: healthy(n, p), what=f"{name} is healthy")
        assert asked(first, token, f"gates:{first}") == 200
        assert asked(first, "x" * 43, f"gates:{first}") == 401
        assert asked(first, token, "elsewhere") == 403
        prometheus = stack.enter_context(scraped(tmp_path, ports))
        wanted = {"hypercare-gates", "hypercare-act"}
        until(lambda: jobs_up(prometheus) == wanted, what="both pages are read")


@pytest.mark.kafka
@pytest.mark.slow
def test_shadow_serves(kafka: LocalKafka, tmp_path: Path) -> None:
    """With the topics of its name it becomes healthy by its own check."""
    name = SERVICES["shadow-topics"]["command"][-1]
    create_missing(Settings(kafka=kafka.bootstrap, prefix=PREFIX, shadow=name))
    port = free_ports(1)
    with started("shadow", tmp_path, kafka.bootstrap, port):
        until(lambda: healthy("shadow", port), what="the shadow is healthy")
