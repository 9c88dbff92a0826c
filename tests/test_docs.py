"""What the pages say is there: links, settings, metrics, words, rights, ports."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pytest
from click import Command, Group

from streams.cli.main import main
from streams.connection import PREFIX as KAFKA_PREFIX
from streams.connectionvars import CONNECTION_VARIABLES
from streams.metrictable import METRICS
from streams.metrictable import PREFIX as METRIC_PREFIX
from streams.permissions import Role, permissions
from streams.settings import IDENTITY, PREFIX, VARIABLES, Settings
from streams.topictable import DAY_MS, HOT_TOPICS, TOPICS

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {".git", ".venv", ".hypothesis", "build", "dist", "node_modules"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"HYPERCARE_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_*])")
"""A whole name; one that ends with an underscore stands for a family."""


def is_ours(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not any(p in SKIPPED or p.endswith(("_cache", "__")) for p in parts)


@cache
def tree() -> tuple[Path, ...]:
    """Every file that is, or is about to be, part of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.splitlines()]
    else:
        found = list(ROOT.rglob("*"))
    return tuple(sorted(path for path in found if path.is_file() and is_ours(path)))


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


PAGES = [path for path in tree() if path.suffix == ".md"]
IDS = [str(path.relative_to(ROOT)) for path in PAGES]


DEPLOYED = [
    path
    for path in tree()
    if path.suffix in {".yml", ".yaml", ".env"} or path.name == "Dockerfile"
]
INJECTED = {"HYPERCARE_PORT"}
"""What Kubernetes would make of a service with our name: said, never read."""


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors that headings of a page get, as Git hosts make them."""
    text = re.sub(r"^```.*?^```$", "", text_of(path), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    names: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        again = found.get(slug, 0)
        found[slug] = again + 1
        names.add(f"{slug}-{again}" if again else slug)
    return names


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_resolve(page: Path) -> None:
    """Every link to a file of the tree finds it, and the heading it names."""
    broken = []
    for link in LINK.findall(without_code(text_of(page))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target)
        ):
            broken.append(link)
    assert broken == []


def known_names() -> set[str]:
    """Every variable that some part of the project reads."""
    known = {PREFIX + one.name for one in VARIABLES.values()}
    known |= {PREFIX + name for name in IDENTITY}
    known |= {KAFKA_PREFIX + name for name in CONNECTION_VARIABLES}
    return known | local_names()


def local_names() -> set[str]:
    """Variables of the command line and the local Kafka, read off their code."""
    found: set[str] = set()
    for command in commands().values():
        for option in command.params:
            named = option.envvar or ()
            found |= {named} if isinstance(named, str) else set(named)
    for path in (ROOT / "streams" / "kafka_local").glob("*.py"):
        found |= set(
            re.findall(r'env\w*(?:\.get\(|\[)"(HYPERCARE_\w+)"', text_of(path))
        )
    return found


@cache
def commands() -> dict[str, Command]:
    """Every word of the command line, and what it does."""
    found: dict[str, Command] = {}

    def walk(command: Command, words: tuple[str, ...]) -> None:
        if isinstance(command, Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                one = command.get_command(context, name)
                assert one is not None
                walk(one, (*words, name))
        found[" ".join(words)] = command

    walk(main, ())
    del found[""]
    return found


def test_settings_page_is_fresh() -> None:
    """docs/settings.md is what the tables of variables say."""
    tool = ROOT / "tools" / "generate_settings.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_every_variable_is_documented() -> None:
    """Each variable that can be set is on the page of settings."""
    page = text_of(ROOT / "docs" / "settings.md")
    assert {n for n in known_names() if f"| `{n}` |" not in page} == set()


@pytest.mark.parametrize("path", [*PAGES, *DEPLOYED], ids=lambda p: p.name)
def test_only_known_variables_are_named(path: Path) -> None:
    """No page and no deployment sets what nobody reads."""
    assert set(NAME.findall(text_of(path))) - known_names() - INJECTED == set()


def test_every_metric_is_documented() -> None:
    """Each metric of a worker is on the page of metrics."""
    page = text_of(ROOT / "docs" / "metrics.md")
    assert [n for n in METRICS if f"| `{METRIC_PREFIX}{n}` |" not in page] == []


@pytest.mark.parametrize("words", commands())
def test_every_word_is_documented(words: str) -> None:
    """Each word of the command line is on its page, and says what it does."""
    page = text_of(ROOT / "docs" / "cli.md")
    assert commands()[words].help
    first, *rest = words.split()
    rows = [line for line in page.splitlines() if line.startswith(f"| `{first}")]
    assert rows
    assert all(any(f"{word}" in row for row in rows) for word in rest)


def table_of(heading: str) -> list[list[str]]:
    """Cells of the table under a heading of the security page, without code marks."""
    page = text_of(ROOT / "docs" / "security.md")
    part = re.split(r"^## ", page.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines[1:]]
    return [[cell.replace("`", "") for cell in row] for row in cells]


def kept_for(retention_ms: int) -> str:
    """How long a topic keeps records, in words."""
    return f"{retention_ms // DAY_MS} days" if retention_ms >= 0 else "for ever"


def test_security_page_knows_the_topics() -> None:
    """Names and retention of all topics are those of the table in the code."""
    said = {row[0]: row[3] for row in table_of("What is stored where")}
    real = {
        spec.name: kept_for(int(spec.config["retention.ms"]))
        if "retention.ms" in spec.config
        else "newest"
        for spec in (*TOPICS, *HOT_TOPICS)
    }
    assert real == said


def test_security_page_lists_the_rights() -> None:
    """Each role has the rights of the code on the page, and no other."""
    said = {
        (role, *resource.rstrip("*").split(" "), operation)
        for role, resource, operations in table_of("Rights in Kafka")
        for operation in operations.split(", ")
    }
    real = {
        (role.value, one.kind + "s" * one.is_prefix, one.name, one.operation)
        for role in Role
        for one in permissions(Settings(), role)
    }
    assert real == said


def test_security_page_names_the_ports() -> None:
    """The ports and addresses are the defaults of worker and local Kafka."""
    from streams.kafka_local import DEFAULT_PORT

    said = {int(row[0]): row[2] for row in table_of("Ports")}
    conf = Settings()
    assert said == {
        conf.web_port: conf.web_host,
        conf.gates_port: conf.gates_host,
        conf.act_port: conf.act_host,
        DEFAULT_PORT: "127.0.0.1",
    }


def test_security_page_names_hashed_fields() -> None:
    """Every field that is hashed, always or as an address, is named."""
    from detector.identity import HASHED_WHEN_ADDRESS, IDENTITIES

    page = text_of(ROOT / "docs" / "security.md")
    assert [
        n for n in (*IDENTITIES, *HASHED_WHEN_ADDRESS) if f"`{n}`" not in page
    ] == []


def traps() -> list[list[str]]:
    """Return the cells of every row of the page of traps."""
    lines = text_of(ROOT / "docs" / "traps.md").splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    cells = [[c.strip() for c in row.strip("|").split(" | ")] for row in rows]
    return [row for row in cells if row[0] != "trap"]


def test_traps_are_numbered() -> None:
    """Each of the numbered traps of Faust has its row, in order."""
    numbers = [m.group() for row in traps() if (m := re.match(r"\d+(?= )", row[0]))]
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert len(numbers) >= 27


@pytest.mark.parametrize("row", traps(), ids=lambda row: row[0][:30])
def test_trap_names_living_tests(row: list[str]) -> None:
    """A trap has a guard, and tests that exist; or it says why none is needed."""
    trap, guard, tests = row
    assert trap
    assert guard
    named = re.findall(r"`(test_\w+)`", tests)
    assert named or tests.startswith("none: ")
    assert [name for name in named if name not in all_tests()] == []


@cache
def all_tests() -> frozenset[str]:
    """Return the names of all tests of the tree."""
    files = (ROOT / "tests").rglob("test_*.py")
    found = (re.findall(r"def (test_\w+)", text_of(path)) for path in files)
    return frozenset(name for names in found for name in names)


def test_readme_is_short() -> None:
    """The first page stays a page: at most 150 lines."""
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150


HOMES = ("/" + "root/", "/" + "home/", "/" + "Users/", "/" + "work/", "/" + "tmp/dev")
HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("deb", "debian", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
    )
]
"""Locks and pages name packages, not where one machine got them from."""


@pytest.mark.parametrize("needle", [*HOMES, *HOSTS])
def test_tree_names_no_machine(needle: str) -> None:
    """No file holds a path of somebody's machine or the host of a registry."""
    # A relative path may hold any folder, a mirror may have any host below.
    before = r"(?<![\w.$}])" if needle in HOMES else r"(?<![\w-])"
    found = []
    for path in tree():
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if re.search(before + re.escape(needle), line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []
