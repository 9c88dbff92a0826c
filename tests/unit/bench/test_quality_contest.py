"""Detectors meet on equal terms, and their table says what happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.quality.contest import PRODUCT, compare, detectors
from bench.quality.scoring import Estimate, Share
from bench.quality.simulated import PLAIN, SimulatedCase, simulated_cases
from bench.quality.table import estimate, share, tables
from detector.simulator import BAD, HARMLESS

ROOT = Path(__file__).resolve().parents[3]


def test_words_choose_detectors() -> None:
    """Parts of names choose; a word that fits nobody is refused with the choice."""
    assert [d.name for d in detectors(["hyper", "cusum"])] == [PRODUCT, "CUSUM"]
    assert len(detectors()) == 7
    with pytest.raises(LookupError, match="mSPRT"):
        detectors(["nobody"])


def test_every_family_takes_part() -> None:
    """Each family of the simulator gives its number of releases."""
    cases = list(simulated_cases(2, seed=1))
    assert len(cases) == 2 * len(BAD | HARMLESS)
    assert set(HARMLESS) >= PLAIN


def test_case_tells_the_same_twice() -> None:
    """A case is its seed: equal truth and equal bytes at every call."""
    case = SimulatedCase("errors", 0, seed=5)
    truth, lines = case.tell()
    again, same = case.tell()
    assert truth == again
    assert list(lines) == list(same)
    assert truth.is_bad
    assert truth.exposed[-1] > 0


def test_harmless_case_has_no_cost() -> None:
    """A trap is no plain case, and nothing is lost in it."""
    truth, _ = SimulatedCase("outage", 0, seed=5).tell()
    assert (truth.kind, truth.is_bad, truth.has_exposure) == ("trap", False, False)


def test_comparison_shows_both() -> None:
    """The product and a rival judge one case; the table has a row for each."""
    names = [PRODUCT, "3 sigma x3"]
    rows = compare(names, SimulatedCase("errors", 1, seed=5))
    outcomes = {n: [r.outcome] for n, r in zip(names, rows, strict=True)}
    text = list(tables(outcomes, seed=1, resamples=20))
    assert text[0] == "simulator: 1 bad releases (1 decidable), 0 plain, 0 traps"
    assert sum(line.startswith("| 3 sigma x3 |") for line in text) == 1
    assert text[-1].startswith("| simulator errors |")


def test_figures_carry_their_interval() -> None:
    """Shares show hits, total and limits; what is unknown is a dash."""
    assert share(Share(19, 20)) == ".95 19/20 [.76, .99]"
    assert share(Share(0, 0)) == "-"
    assert estimate(Estimate(-0.25, -0.5, 0.125)) == "-.25 [-.50, .12]"
    assert estimate(Estimate(12.4, 8.0, 20.0), digits=0) == "12 [8, 20]"
    assert estimate(Estimate(None)) == "-"


@pytest.mark.slow
def test_output_ignores_number_of_jobs() -> None:
    """One process or two, the same arguments give the same bytes."""
    command = [sys.executable, "-m", "bench.quality", "--releases", "1"]
    command += ["--families", "errors,stationary", "--only", "cusum,sigma"]
    runs = [
        subprocess.run(
            [*command, "--jobs", jobs], cwd=ROOT, capture_output=True, check=True
        ).stdout
        for jobs in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert b"net by family" in runs[0]
