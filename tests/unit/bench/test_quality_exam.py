"""Lines of an exam become records that the core accepts, and decisions come back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.quality.exam import BOUNDS_MS, Told, decide, envelope, exam_cases
from bench.quality.product import Product, word_of
from detector.events import Event
from detector.verdicts import Action

START_S = 1_767_225_600

USAGE = {
    "id": "u1",
    "arr": START_S + 61.25,
    "ts": START_S,
    "window_s": 60,
    "service": "shop",
    "release": "1.0",
    "environment": "production",
    "attrs": {"os": "ios"},
    "kind": "usage",
    "count": 40,
    "users": 12,
}
ONE_OF_EACH: list[dict[str, Any]] = [
    USAGE | {"sessions": 9, "sender": "p-1", "seq": 0, "sample_rate": 0.25},
    USAGE | {"kind": "error", "signature": "E@f"},
    USAGE | {"kind": "latency", "hist": list(range(24)), "p99_ms": 3.0},
    USAGE | {"kind": "feedback", "count": 4, "score_mean": 2.5},
    USAGE
    | {
        "kind": "deploy",
        "window_s": 0,
        "previous": "0.9",
        "strategy": "wave",
        "weight": 1.0,
        "attrs": {"region": "eu"},
    },
]


@pytest.mark.parametrize("line", ONE_OF_EACH, ids=lambda line: str(line["kind"]))
def test_line_becomes_valid_record(line: dict[str, Any]) -> None:
    """Every kind decodes as an event of the envelope."""
    record = envelope(line)
    decoded = msgspec.json.decode(msgspec.json.encode(record), type=Event)
    assert decoded.ts == START_S * 1000
    assert decoded.received_at == START_S * 1000 + 61_250


def test_measures_keep_their_meaning() -> None:
    """Buckets, scores and rollout fields arrive under the envelope's names."""
    usage, _, latency, feedback, deploy = map(envelope, ONE_OF_EACH)
    assert (usage["sessions"], usage["seq"], usage["sample_rate"]) == (9, 0, 0.25)
    assert len(latency["counts"]) == len(BOUNDS_MS) + 1
    assert latency["bounds_ms"][:2] == pytest.approx((2.0, 3.2))
    assert feedback["score_sum"] == pytest.approx(10.0)
    assert (deploy["predecessor"], deploy["scope"]) == ("0.9", {"region": "eu"})
    assert "attrs" not in deploy


def case_lines(rate: float) -> list[bytes]:
    """An hour before and one after a split of the traffic in halves."""
    lines: list[dict[str, Any]] = []
    for minute in range(120):
        ts = START_S + minute * 60
        fresh = {"ts": ts, "arr": ts + 61.0}
        if minute == 60:
            lines.append(ONE_OF_EACH[4] | fresh | {"arr": ts + 0.5, "attrs": {}})
            lines[-1] |= {"release": "1.1", "previous": "1.0", "strategy": "ab"}
            lines[-1] |= {"weight": 0.5, "id": "d1"}
        arms = {"1.0": 0.01, "1.1": rate} if minute >= 60 else {"1.0": 0.01}
        for release, chance in arms.items():
            users, bad = 1000, round(1000 * chance)
            common = fresh | {"release": release, "attrs": {}}
            common |= {"users": users, "count": users}
            lines.append(USAGE | common | {"id": f"u{minute}{release}"})
            common |= {"users": bad, "count": bad, "id": f"e{minute}{release}"}
            lines.append(ONE_OF_EACH[1] | common)
    return [json.dumps(line).encode() for line in lines]


def test_decision_follows_bad_release() -> None:
    """Five times the errors are rolled back, stamped with what was read last."""
    lines = case_lines(0.05)
    first = json.loads(next(decide(lines, Product())))
    assert (first["action"], first["release"]) == ("rollback", "1.1")
    assert first["target"] == "1.0"
    told = [json.loads(x)["received_at"] / 1000 for x in Told(lines)]
    assert first["ts"] in told
    assert first["ts"] > START_S + 3600


def test_decision_needs_no_later_line() -> None:
    """Cut off at the line that caused it, the input gives the same decision."""
    lines = case_lines(0.05)
    first = json.loads(next(decide(lines, Product())))
    known = [x for x in lines if json.loads(x)["arr"] <= first["ts"]]
    assert json.loads(next(decide(known, Product()))) == first


def test_ticks_fill_silence_in_order() -> None:
    """Ticks stand between lines, rarer as the silence grows, never ahead of one."""
    arrivals = (0.0, 20.0, 320.0, 321.0)
    lines = [json.dumps(USAGE | {"arr": START_S + at}).encode() for at in arrivals]
    told = [json.loads(x) for x in Told(lines)]
    times = [round(x["received_at"] / 1000) - START_S for x in told]
    assert times == [0, 20, 50, 80, 140, 260, 320, 321, 351, 381, 441]
    assert [x["kind"] for x in told].count("tick") == 7


def test_harmless_release_is_not_rolled_back() -> None:
    """Equal counts in both arms give no rollback."""
    actions = [json.loads(x)["action"] for x in decide(case_lines(0.01), Product())]
    assert "rollback" not in actions


@pytest.mark.parametrize("action", list(Action))
def test_taking_back_is_rollback(action: Action) -> None:
    """Halt, hotfix, withdraw and replace end the harm as a rollback does."""
    ends = {"rollback", "hotfix", "halt", "withdraw", "replace"}
    assert (word_of(action) == "rollback") is (action.value in ends)


def test_exam_folder_is_read(tmp_path: Path) -> None:
    """Truth and packed inputs of both suites come out as cases; others are left."""
    truth = {
        "case_id": "a",
        "service": "shop",
        "track": "sim",
        "family": "tiny",
        "label": "no_rollback",
        "release": "1.1",
        "t_onset": START_S,
        "t_end": START_S + 60,
        "segment": {},
    }
    other = truth | {"case_id": "b", "label": "optional"}
    folder = tmp_path / "public"
    (folder / "inputs").mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in (truth, other))
    (folder / "truth.jsonl").write_text(text, encoding="utf-8")
    packed = gzip.compress(json.dumps(USAGE).encode() + b"\n")
    (folder / "inputs" / "a.jsonl.gz").write_bytes(packed)
    (case,) = exam_cases(tmp_path)
    known, lines = case.tell()
    assert (known.case, known.kind, known.suite) == ("a", "plain", "suite 1")
    kinds = [json.loads(x)["kind"] for x in lines]
    assert [kind for kind in kinds if kind != "tick"] == ["usage"]


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    """A folder without any suite is named instead of scored as nothing."""
    with pytest.raises(FileNotFoundError, match="public"):
        next(exam_cases(tmp_path))
