"""The mapping file and the options of an import: each slip has its place and fix."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from detector.rulefile import RuleFileError
from streams.cli.main import main
from streams.prometheus.mapping import SELECTOR, Part, read_mapping

ROOT = Path(__file__).resolve().parents[3]
USUAL = """\
version: 1
sources:
  - requests: http_requests_total{job="shop"}
    failures: http_requests_total{job="shop",code=~"5.."}
    service: {label: job}
    release: {label: version}
"""
JOINED = "{label: version, info: build_info, by: [job, instance]}"


def test_usual_mapping_is_read() -> None:
    """What is left out has its default."""
    (source,) = read_mapping(USUAL, "map.yaml").sources
    assert 'http_requests_total{job="shop"}' == source.requests
    assert Part(const="production") == source.environment
    assert ("request", "server_error", None) == (
        source.unit,
        source.outcome,
        source.component,
    )


def test_info_metrics_are_looked_up_once() -> None:
    """Two sources with the same part share its lookup."""
    text = USUAL.replace("{label: version}", JOINED)
    text += text.split("sources:\n")[1]
    mapping = read_mapping(text, "map.yaml")
    assert ["build_info"] == list(mapping.infos)
    assert 1 == len(mapping.infos["build_info"])


def test_examples_of_the_page_are_read() -> None:
    """Every mapping in the documentation is a valid one."""
    page = (ROOT / "docs/import-prometheus.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)(?:^    version: 1\n(?:    .*\n)+)", page)
    assert 3 == len(blocks)
    for block in blocks:
        read_mapping(textwrap.dedent(block), "map.yaml")


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("version: 1", "version: 2", ":1:10: version: unknown", "write version: 1"),
        ("requests:", "request:", ":3:5: sources[0].request: unknown", "requests?"),
        ("    service: {label: job}\n", "", "sources[0].service is missing", "add"),
        ("{label: job}", "shop", ":5:14: sources[0].service: no mapping", "{const"),
        ("{label: job}", "{}", "service: neither label nor const", "{label: NAME}"),
        ("{label: job}", "{const: 2.4}", "service.const: no text", 'quote it'),
        ("{label: job}", '{const: "a b"}', "service.const: no name", "letters"),
        ("{label: job}", '{label: "a b"}', "service.label: no label", "as job"),
        ("{label: version}", "{label: v, info: b}", "info and by go", "[job, in"),
        ("{label: version}", "{label: v, info: b, by: c}", "release.by: no list", "["),
        ('="shop"}', '="shop"}[5m]', "requests: no plain selector", "no function"),
        ("release:", "unit: hour\n    release:", "unknown word hour", "session"),
        ("release:", "attrs: [a]\n    release:", "attrs: no mapping", "region"),
        ("release:", "attrs: {_a: {const: b}}\n    release:", "attrs._a: no name", "l"),
        ("sources:\n", "sources: {}\nx:\n", "sources: no list", "with a dash"),
    ],
)  # fmt: skip
def test_slips_have_place_and_fix(old: str, new: str, place: str, said: str) -> None:
    """Line, key and what to write instead."""
    assert old in USUAL
    with pytest.raises(RuleFileError) as error:
        read_mapping(USUAL.replace(old, new, 1), "map.yaml")
    assert str(error.value).startswith("map.yaml:")
    assert (True, True) == (place in str(error.value), said in str(error.value))


def test_empty_mapping_is_refused() -> None:
    """An empty file says where an example is."""
    with pytest.raises(RuleFileError, match=r"docs/import-prometheus\.md"):
        read_mapping(" \n", "map.yaml")


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("up", True),
        ("job:requests:sum", True),
        ("a{}", True),
        ("a { b = \"c\" , d!~'e', }", True),
        ('{"http.requests", job="a\\"b"}', True),
        ('{__name__="a"}', True),
        ("a{b=`c}`}", True),
        ("rate(a[5m])", False),
        ("a offset 5m", False),
        ("a + b", False),
        ("a{b=c}", False),
        ("a{b='c'} or d", False),
        ("", False),
    ],
)
def test_only_plain_selectors_pass(text: str, is_plain: bool) -> None:
    """A name, matchers in braces, or both."""
    assert is_plain == bool(SELECTOR.fullmatch(text))


def run(folder: Path, url: str, *more: str, last: str = "--last=1h") -> Result:
    """An import to which nobody answers."""
    (folder / "map.yaml").write_text(USUAL, encoding="utf-8")
    (folder / "secret").write_text("hush", encoding="utf-8")
    (folder / "two").write_text("hush\nhush", encoding="utf-8")
    told = [one.replace("FOLDER", str(folder)) for one in more]
    arguments = ["import", "prometheus", url, f"--map={folder}/map.yaml", last, *told]
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("prometheus:9090", [], "URL: give http"),
        ("http://me:hush@host", [], "use --basic-file"),
        ("http://host/api/v1", [], "end it before /api/v1"),
        ("http://host", ["--header=hush"], 'write "Name: value"'),
        ("http://host", ["--header=Authorization: hush"], "use --bearer-file"),
        ("http://host", ["--header=A: hush\r\nB: c"], 'write "Name: value"'),
        ("http://host", ["--basic-file=FOLDER/secret"], "write user:password"),
        ("http://host", ["--bearer-file=FOLDER/two"], "in one line"),
        ("http://host", ["--bearer-file=FOLDER/a", "--basic-file=b"], "one of the two"),
        ("http://host", ["--start=2026-11-01"], "with an offset"),
        ("http://host", ["--start=1700000000", "--end=1600000000"], "swap them"),
        ("http://host", ["--output=FOLDER/map.yaml"], "that does not exist"),
        ("http://host", ["--timeout=soon"], "no length of time"),
        ("https://host", ["--ca-file=FOLDER/secret"], "PEM file"),
    ],
)
def test_slips_of_options_are_told(
    tmp_path: Path, url: str, more: list[str], said: str
) -> None:
    """Exit code 2, the fix, and never a secret."""
    done = run(tmp_path, url, *more)
    assert (2, True) == (done.exit_code, said in done.stderr), done.stderr
    assert "hush" not in done.stderr


def test_secrets_in_clear_are_warned_of(tmp_path: Path) -> None:
    """Headers to another host without TLS are somebody else's to read."""
    for host, warns in (("0.0.0.0", True), ("127.0.0.1", False)):
        done = run(tmp_path, f"http://{host}:1", "--bearer-file=FOLDER/secret")
        assert (30, warns) == (done.exit_code, "unencrypted" in done.stderr)


def test_nobody_answers(tmp_path: Path) -> None:
    """Exit code 30; neither the secret nor a file is left behind."""
    done = run(
        tmp_path, "http://127.0.0.1:1", "--bearer-file=FOLDER/secret",
        "--output=FOLDER/history.jsonl",
    )  # fmt: skip
    assert (30, True) == (done.exit_code, "does not answer" in done.stderr)
    assert "hush" not in done.stderr
    assert not (tmp_path / "history.jsonl").exists()
