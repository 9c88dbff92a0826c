"""Labelled exams: their lines as envelopes, their truth, and a filter for both.

``python -m bench.quality.exam < lines > decisions`` reads pre-aggregated windows in
arrival order and prints a decision as soon as it is made, so that a foreign scorer
can drive the product. Nothing but the shipped rules is known to it.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.quality.product import Product
from bench.quality.scoring import Truth

BOUNDS_MS = tuple(2 * 1.6**k for k in range(23))
"""Upper bounds of the latency buckets; the 24th is open."""

SUITES = ("public", "public2")
LABELS = ("rollback", "no_rollback")
"""Cases that an exam labels otherwise are arguable and count for nothing."""

TICKS_S = tuple(30 * 2**k for k in range(16))
"""After so much silence a tick is written: a live worker ticks every few seconds,
and only the first tick after a window's grace closes anything."""

LAST_TICK_S = 120
"""Longest silence that is told after the last line."""

PLAIN_FAMILIES = frozenset({"null", "tiny", "improved"})

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def envelope(line: dict[str, Any]) -> dict[str, Any]:
    """One line of the exam as a record of the log.

    Raises
    ------
    KeyError
        A field that every line of its kind has is missing.
    """
    record: dict[str, Any] = {
        "kind": line["kind"],
        "ts": round(line["ts"] * 1000),
        "window_s": round(line.get("window_s") or 0),
        "received_at": round(line["arr"] * 1000),
        "service": line["service"],
        "release": line["release"],
        "environment": line.get("environment"),
        "id": line["id"],
    }
    if line["kind"] == "deploy":
        record |= _deploy(line)
    else:
        record["attrs"] = line.get("attrs")
        for name in ("sender", "seq", "sample_rate", "sessions", "users"):
            record[name] = line.get(name)
        record |= _MEASURES[line["kind"]](line)
    return {name: value for name, value in record.items() if value is not None}


def _deploy(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "window_s": 0,
        "phase": "started",
        "strategy": line.get("strategy"),
        "weight": line.get("weight"),
        "scope": line.get("attrs"),
        "predecessor": line.get("previous"),
    }


def _usage(line: dict[str, Any]) -> dict[str, Any]:
    return {"count": line["count"]}


def _error(line: dict[str, Any]) -> dict[str, Any]:
    return {"count": line["count"], "signature": line.get("signature")}


def _latency(line: dict[str, Any]) -> dict[str, Any]:
    return {"bounds_ms": BOUNDS_MS, "counts": line["hist"]}


def _feedback(line: dict[str, Any]) -> dict[str, Any]:
    count = line["count"]
    return {"count": count, "score_sum": line["score_mean"] * count}


_MEASURES = {
    "usage": _usage,
    "error": _error,
    "latency": _latency,
    "feedback": _feedback,
}


@dataclass(frozen=True)
class ExamCase:
    """One case of an exam: a file of lines and its truth."""

    path: Path
    truth: Truth

    @property
    def family(self) -> str:
        """The kind of thing that happens in it."""
        return self.truth.family

    def tell(self) -> tuple[Truth, Iterator[bytes]]:
        """The truth and the envelopes in arrival order."""
        return self.truth, self._lines()

    def _lines(self) -> Iterator[bytes]:
        opened = gzip.open if self.path.suffix == ".gz" else open
        with opened(self.path, "rb") as file:
            yield from Told(file)


def exam_cases(folder: Path) -> Iterator[ExamCase]:
    """The labelled cases of an exam's suites, in the order of their truth.

    Raises
    ------
    FileNotFoundError
        No suite is in the folder.
    """
    suites = [folder / name for name in SUITES if (folder / name).is_dir()]
    if not suites:
        raise FileNotFoundError(f"{folder}: no {' or '.join(SUITES)} in there")
    for suite in suites:
        for text in (suite / "truth.jsonl").read_bytes().splitlines():
            line = _decode(text)
            if line["label"] not in LABELS:
                continue
            truth = truth_of(line)
            path = suite / "inputs" / f"{truth.case}.jsonl"
            packed = path.with_suffix(".jsonl.gz")
            yield ExamCase(path if path.exists() else packed, truth)


def truth_of(line: dict[str, Any]) -> Truth:
    """One line of the truth file."""
    is_bad = line["label"] != "no_rollback"
    is_real = line["track"] == "real"
    return Truth(
        case=line["case_id"],
        service=line["service"],
        suite="real" if is_real else f"suite {line.get('suite', 1)}",
        family=line["family"],
        kind="bad" if is_bad else _kind(line, is_real),
        release=str(line["release"]),
        is_bad=is_bad,
        is_decidable=bool(line.get("detectable")),
        has_exposure=not is_real and "exposed_t" in line,
        onset_ms=round(line["t_onset"] * 1000),
        end_ms=round(line["t_end"] * 1000),
        exposed_at_ms=tuple(t * 1000 for t in line.get("exposed_t", ())),
        exposed=tuple(line.get("exposed_n", ())),
        segment={k: _values(v) for k, v in (line["segment"] or {}).items()},
        cells=tuple(line.get("cells", ())),
        cell_traffic=tuple(line.get("cell_traffic", ())),
    )


def _kind(line: dict[str, Any], is_real: bool) -> str:
    family = line["family"]
    is_plain = (
        line.get("kind") == "plain"
        or family in PLAIN_FAMILIES
        or (is_real and "surge" not in family)
    )
    return "plain" if is_plain else "trap"


def _values(value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    return tuple(str(v) for v in several)


def decide(lines: Iterable[bytes], product: Product) -> Iterator[bytes]:
    """Decisions as lines of the exam, each as soon as it is made.

    Their ``ts`` is the time of the last line or tick that the product had read.
    """
    told = Told(lines)
    for said in product.said(told):
        yield _encode(
            {
                "ts": told.now_s,
                "service": said.service,
                "release": said.release,
                "action": said.action,
                "segment": said.segment,
                "target": said.target,
                "reason": said.reason,
            }
        )


class Told:
    """Envelopes of the lines, with the ticks that a live worker writes in silence.

    A tick at some time stands before every line that arrives later, so that nothing
    is known before its time.

    Attributes
    ----------
    now_s : float
        Time of the last envelope that was taken.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.now_s: float = 0

    def __iter__(self) -> Iterator[bytes]:
        service: str | None = None
        for line in self._lines:
            if not line.strip():
                continue
            fields = _decode(line)
            if service is not None:
                yield from self._ticks(service, fields["arr"])
            self.now_s, service = fields["arr"], fields["service"]
            yield _encode(envelope(fields))
        if service is not None:
            yield from self._ticks(service, self.now_s + LAST_TICK_S + 1)

    def _ticks(self, service: str, until_s: float) -> Iterator[bytes]:
        """Ticks for the service that spoke last, rarer as the silence grows."""
        since_s = self.now_s
        for silence_s in TICKS_S:
            if since_s + silence_s >= until_s:
                return
            self.now_s = since_s + silence_s
            at_ms = round(self.now_s * 1000)
            yield _encode(
                {
                    "kind": "tick",
                    "ts": at_ms,
                    "received_at": at_ms,
                    "service": service,
                }
            )


def main() -> None:
    """Filter standard input to standard output."""
    product = Product()
    for decision in decide(sys.stdin.buffer, product):
        sys.stdout.buffer.write(decision + b"\n")
        sys.stdout.buffer.flush()
    for refused in product.rejected[:20]:
        print(refused.value.decode(), file=sys.stderr)


if __name__ == "__main__":
    main()
