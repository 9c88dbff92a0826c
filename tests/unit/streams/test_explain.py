"""``hypercare explain``: the story of a release, with the evidence of each window."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from detector.audit import read
from detector.story import story_of
from streams.auditlog import chosen
from streams.recording import plain_lines
from streams.report.chart import HEIGHT, WIDTH, chart
from tests.unit.detector.traffic import rules
from tests.unit.streams.past import Files, single_past

RELEASE = "shop-0/production/1.0.0"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A log, its audit and its rules."""
    return Files(tmp_path, *single_past())


@pytest.fixture
def harmful(files: Files) -> str:
    """Id of the recommendation about a release that was bad."""
    bodies = map(json.loads, files.audit.read_bytes().splitlines())
    return next(str(b["id"]) for b in bodies if "id" in b and b["service"] == "shop-0")


def explained(files: Files, *words: str) -> Result:
    """Run the command on audit and log."""
    paths = ("--audit", str(files.audit), "--history", str(files.history))
    return files.run("explain", *words, *paths)


def told(files: Files, *words: str) -> dict[str, Any]:
    """What it says to programs."""
    done = explained(files, *words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_story_is_whole(files: Files, harmful: str) -> None:
    """What, why, evidence, its course, the times, what failed, what to do next."""
    done = explained(files, harmful)
    assert done.exit_code == 0, done.output
    said = done.stdout
    assert said.startswith(f"{RELEASE}: rollback to 0.0.0")
    titles = re.findall(r"^\S.*$", said, flags=re.MULTILINE)[1:]
    assert titles == [
        "What",
        "Why",
        "Evidence",
        "Evidence over time",
        "How it went",
        "What fails",
        "What each action would spare",
        "Next",
    ]
    assert "shop-0 1.0.0: sessions fail" in said
    assert "NullPointerException: payment.confirm" in said
    assert "docs/runbooks/ReleaseRegression.md" in said
    assert f"hypercare label {harmful} right" in said
    assert "This rule asks for 5.99." in " ".join(said.split())
    assert re.search(r"made again +(\d+) of \1 records came out the same", said)


def test_evidence_crosses_the_level_when_it_is_said(files: Files, harmful: str) -> None:
    """The course has a point a window; what is recommended is above the level then."""
    found = told(files, harmful)
    course = [p for p in found["course"] if p["signal"] == "errors"]
    at = [point["at_ms"] for point in course]
    assert at == sorted(set(at))
    spoken = next(v for v in found["verdicts"] if v["recommendation_id"] == harmful)
    between = [ms for ms in at if ms <= spoken["window_end"]]
    steps = {later - one for one, later in pairwise(between)}
    assert steps == {10_000}
    then = [p for p in course if p["at_ms"] == spoken["window_end"]]
    assert then
    assert then[0]["log_e"] > found["level"]
    assert found["revisions"][0]["decided_at"] >= found["onset_ms"]
    assert found["differs"] is False


def test_course_agrees_with_the_audit(files: Files, harmful: str) -> None:
    """Where a verdict was written down, the window made again says the same."""
    found = told(files, harmful)
    course = {(p["at_ms"], p["signal"]): p["log_e"] for p in found["course"]}
    spoken = next(v for v in found["verdicts"] if v["recommendation_id"] == harmful)
    (whole,) = (
        one["log_e"]
        for one in spoken["evidence"]
        if (one["signal"], one["segment"]) == ("errors", None)
    )
    # All series of a signal, weighted, have no less than what the whole has alone by
    # its share of half and more.
    assert course[spoken["window_end"], "errors"] >= whole - 1.0


def test_release_without_harm(files: Files) -> None:
    """A release is named as well; nothing is claimed of a recommendation."""
    done = explained(files, "shop-1/production/1.0.0")
    assert done.exit_code == 0, done.output
    assert "hypercare label" not in done.stdout
    assert "hypercare replay --id shop-1/production/1.0.0" in done.stdout


def test_recording_alone_is_judged(files: Files, harmful: str) -> None:
    """Without an audit, and so without Kafka: same id, same story, and it says so."""
    whole = told(files, harmful)
    files.history.write_bytes(
        b"\n".join(plain_lines(files.history.read_bytes().splitlines())) + b"\n"
    )
    done = files.run("explain", harmful, "--history", str(files.history), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["course"] == whole["course"]
    assert [v["sentence"] for v in found["verdicts"]] == [
        v["sentence"] for v in whole["verdicts"]
    ]
    assert "Judged anew" in found["notes"][0]


def test_plain_recording_beside_the_audit(files: Files, harmful: str) -> None:
    """Offsets are left out of the comparison, nothing else."""
    whole = told(files, harmful)
    files.history.write_bytes(
        b"\n".join(plain_lines(files.history.read_bytes().splitlines())) + b"\n"
    )
    found = told(files, harmful)
    assert (found["course"], found["differs"]) == (whole["course"], False)
    assert found["made_again"] == whole["made_again"]


def test_audit_alone_tells_what_it_can(files: Files, harmful: str) -> None:
    """No log at all: the same words, the evidence where the verdict changed."""
    words = ("explain", harmful, "--audit", str(files.audit), "--no-log", "--json")
    done = files.run(*words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["verdicts"] == told(files, harmful)["verdicts"]
    assert 0 < len(found["course"]) < 20
    assert found["made_again"] is None


def test_log_that_does_not_reach_back_is_said(files: Files, harmful: str) -> None:
    """The story stands without it, and names what would help."""
    files.put_history(single_past()[0][20:])
    found = told(files, harmful)
    assert "records 0 to 19 are gone" in found["notes"][0]
    assert found["verdicts"]


def test_changed_audit_is_found(files: Files, harmful: str) -> None:
    """A figure that was written into the audit afterwards."""
    lines = files.audit.read_bytes().splitlines()
    place = next(n for n, v in enumerate(lines) if harmful.encode() in v)
    lines[place] = lines[place].replace(b'"log_e":', b'"log_e":1')
    files.audit.write_bytes(b"\n".join(lines) + b"\n")
    done = explained(files, harmful)
    assert done.exit_code == 3
    assert f"hypercare replay --id {RELEASE}" in done.stdout.replace("\n  ", " ")


def test_other_rules_are_not_taken_for_those(files: Files, harmful: str) -> None:
    """The course is not made by rules that did not decide."""
    files.put_rules(rules("persistence_s: 90"))
    found = told(files, harmful)
    assert "--rules" in found["notes"][0]


def test_page_stands_alone(files: Files, harmful: str, tmp_path: Path) -> None:
    """One file with plots: no script, no address that is fetched; same bytes again."""
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for page in pages:
        assert explained(files, harmful, "--html", str(page)).exit_code == 0
    text = pages[0].read_text(encoding="utf-8")
    assert text.count("<svg") == 1
    assert "sessions fail" in text
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=\"https?:", text)
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_what_is_said_is_escaped(files: Files, harmful: str, tmp_path: Path) -> None:
    """Signatures and reasons are other people's words."""
    evil = files.audit.read_bytes().replace(b"payment.confirm", b"<img src=x>")
    files.audit.write_bytes(evil)
    page = tmp_path / "evil.html"
    explained(files, harmful, "--html", str(page))
    assert "<img" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (("rec_" + "a" * 26,), "newest there"),
        (("no/such/release",), "newest there"),
        ((RELEASE, "--no-log"), "exclude each other"),
    ],
)
def test_wrong_requests_name_the_fix(
    files: Files, words: tuple[str, ...], fix: str
) -> None:
    """Unknown names, and options that exclude each other."""
    done = explained(files, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert fix in done.stderr


def test_record_of_another_version_is_named() -> None:
    """What can not be read is not left out."""
    scope = b'"service":"a","environment":"b","release":"c"'
    value = b'{%s,"verdict":"new","window_end":1}' % scope
    record = read("audit[0]@7", value)
    with pytest.raises(ValueError, match=r"audit\[0\]@7: verdict of another version"):
        story_of([record], chosen([record], "a/b/c"))


def test_chart_draws_all_it_is_given() -> None:
    """Every point is on the canvas, the level between them, marks on the axis."""
    points = [(n * 60_000, float(n)) for n in range(WIDTH)]
    lines = chart([("up", points)], level=31.5, marked_ms=[("!", 0), ("?", -1)])
    assert len(lines) == HEIGHT + 3
    assert sum(line.count("*") for line in lines[:HEIGHT]) == WIDTH
    assert lines[HEIGHT // 2].count("-") > WIDTH // 2
    assert lines[HEIGHT].strip().startswith("+!")
    assert "?" not in lines[HEIGHT]
    assert chart([]) == []
    assert chart([("flat", [(5, 0.0)])])[0].strip().startswith("0.0")
