"""The rate-ratio kernel: exact means under the null, state, bytes and refusals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detector.evidence import onset
from detector.evidence.confidence import (
    RATIO_GRID,
    RATIOS,
    ratio_interval,
    ratio_log_likelihood,
)
from detector.evidence.rate_ratio import (
    EFFECTS,
    adding,
    effect_grid,
    excess_bad,
    increments,
    recovery_increments,
    robust_increments,
)
from detector.evidence.rows import BYTES_PER_ROW, COLUMNS, PERSISTENCE_MS, RateRatioRows
from detector.evidence.types import FloatArray, IntArray

WINDOW_MS = 10_000
ROUNDING = 1e-12


def outcomes(total: int, candidate: float, control: float) -> tuple[FloatArray, ...]:
    """Every split of ``total`` bad units, with the exposure of the two arms."""
    kt = np.arange(total + 1.0)
    ones = np.ones_like(kt)
    return kt, total - kt, ones * candidate, ones * control


def run(
    series: RateRatioRows,
    rows: IntArray,
    cells: list[tuple[FloatArray, ...]],
    *,
    margin: float = 1.0,
    first: int = 0,
) -> None:
    """Feed one cell a row and window, windows of 10 s."""
    for window, cell in enumerate(cells, start=first):
        start = np.full(rows.size, window * WINDOW_MS)
        series.update(
            rows,
            increments(*cell, margin=margin),
            ratio_log_likelihood(*cell),
            recovery=recovery_increments(*cell, margin=margin),
            totals=np.column_stack(
                [cell[0], cell[2], cell[1], cell[3], excess_bad(*cell)]
            ),
            window_start_ms=start,
            window_end_ms=start + WINDOW_MS,
        )


def stream(
    seed: int, windows: int, rows: int, *, ratio: float = 1.0, rate: float = 0.02
) -> list[tuple[FloatArray, ...]]:
    """Seeded cells of 100 units in each arm."""
    rng = np.random.default_rng(seed)
    units = np.full(rows, 100.0)
    return [
        (
            rng.poisson(100 * rate * ratio, rows).astype(np.float64),
            rng.poisson(100 * rate, rows).astype(np.float64),
            units,
            units,
        )
        for _ in range(windows)
    ]


def state(series: RateRatioRows, rows: Any) -> dict[str, bytes]:
    """The bytes of rows, by column."""
    return {name: value.tobytes() for name, value in series.extract(rows).items()}


@pytest.mark.parametrize("margin", [1.0, 1.25])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("total", [1, 2, 5, 12])
def test_binomial_mean_never_exceeds_one(
    margin: float, share: float, total: int
) -> None:
    """Given the total, the mean factor is 1 at the margin and at most 1 below."""
    arms = outcomes(total, share, 1 - share)
    for method in (increments, robust_increments):
        factors = np.exp(method(*arms, margin=margin))
        for ratio in (0.3, 0.8, 0.99 * margin, margin):
            chance = ratio * share / (ratio * share + 1 - share)
            mean = stats.binom.pmf(arms[0], total, chance) @ factors
            assert (mean <= 1 + ROUNDING).all()
            if ratio == margin:
                np.testing.assert_allclose(mean, 1, atol=ROUNDING)


@pytest.mark.parametrize("total", [1, 3, 8, 15])
@pytest.mark.parametrize(("candidate", "control"), [(5, 25), (15, 15), (28, 12)])
def test_hypergeometric_mean_stays_below_one(
    total: int, candidate: int, control: int
) -> None:
    """With observed numbers of units the mean factor is at most 1 at ratio 1."""
    arms = outcomes(total, candidate, control)
    chance = stats.hypergeom.pmf(arms[0], candidate + control, candidate, total)
    for method in (increments, robust_increments):
        assert (chance @ np.exp(method(*arms, margin=1.0)) <= 1 + ROUNDING).all()


@pytest.mark.parametrize("margin", [1.0, 1.25])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_bernoulli_mean_stays_below_one(margin: float, rate: float) -> None:
    """Independent units with a common rate times the margin: mean at most 1."""
    kt, kc = (x.ravel().astype(float) for x in np.meshgrid(range(13), range(21)))
    chance = stats.binom.pmf(kt, 12, rate * margin) * stats.binom.pmf(kc, 20, rate)
    units = np.ones_like(kt)
    factors = np.exp(increments(kt, kc, 12 * units, 20 * units, margin=margin))
    assert (chance @ factors <= 1 + ROUNDING).all()


@pytest.mark.parametrize("cluster", [1, 3, 7])
def test_clusters_keep_robust_mean_below_one(cluster: int) -> None:
    """Users with several bad events each do not raise the robust mean factor."""
    users = np.arange(5.0)
    chance = stats.binom.pmf(users, 4, 0.3)
    units = np.ones_like(users)
    arms = (users * cluster, (4 - users) * cluster, 30 * units, 70 * units)
    assert (chance @ np.exp(robust_increments(*arms, margin=1.0)) <= 1 + ROUNDING).all()
    if cluster > 1:
        assert (chance @ np.exp(increments(*arms, margin=1.0))).max() > 1


@pytest.mark.parametrize("margin", [1.0, 1.25, 2.0])
@pytest.mark.parametrize("ratio", [1.0, 1.2, 3.0])
def test_recovery_mean_never_exceeds_one(margin: float, ratio: float) -> None:
    """At or beyond the margin the mean recovery factor is at most 1."""
    arms = outcomes(6, 0.3, 0.7)
    true = margin * ratio
    chance = stats.binom.pmf(arms[0], 6, 0.3 * true / (0.3 * true + 0.7))
    factors = np.exp(recovery_increments(*arms, margin=margin))
    assert (chance @ factors <= 1 + ROUNDING).all()


@pytest.mark.parametrize("window", [7, 30, 61, 90_000])
def test_onset_mixture_is_supermartingale(window: int) -> None:
    """From any history the mean of the next e-value is at most the present one."""
    series = RateRatioRows()
    history = series.allocate(5)
    run(series, history, stream(3, 6, 5, ratio=1.5))
    now = np.exp(series.log_evidence(history))
    for total, (row, value) in itertools.product(
        (1, 4), zip(history, now, strict=True)
    ):
        arms = outcomes(total, 30.0, 70.0)
        block = series.extract([row])
        copies = series.insert({k: v.repeat(total + 1, 0) for k, v in block.items()})
        run(series, copies, [arms], first=window)
        chance = stats.binom.pmf(arms[0], total, 0.3)
        mean = float(chance @ np.exp(series.log_evidence(copies)))
        assert mean <= value * (1 + 1e-9)
        series.free(copies)


def test_onset_prior_sums_to_one() -> None:
    """The prior bets a quarter at once and everything within seven days."""
    slots = np.arange(onset.SLOT_LAST + 1)
    masses = np.exp(onset.log_mass(slots - 1, slots))
    assert masses[0] == pytest.approx(0.25)
    assert masses.sum() == pytest.approx(1.0, abs=1e-9)
    assert onset.spent(slots[-1:])[0] == 1.0
    np.testing.assert_allclose(masses[1:], masses[1] * 2 / (slots[1:] + 1), rtol=1e-9)


@pytest.mark.parametrize(("candidate", "control"), [(0, 100), (100, 0), (0, 0)])
def test_missing_exposure_says_nothing(candidate: float, control: float) -> None:
    """A cell without units of one arm contributes exactly 0, whatever is bad."""
    cell = ([40.0], [3.0], [candidate], [control])
    for method in (increments, robust_increments, recovery_increments):
        assert not method(*cell, margin=1.25).any()
    assert not ratio_log_likelihood(*cell).any()
    assert not excess_bad(*cell).any()


def test_margin_shifts_the_null() -> None:
    """A ratio inside the margin loses what it would have won without one."""
    cell = ([240.0], [200.0], [1000.0], [1000.0])
    assert increments(*cell, margin=1.0).max() > 0.5
    assert increments(*cell, margin=1.25).max() < 0
    np.testing.assert_allclose(effect_grid(1.25), 1.25 * effect_grid(1.0))
    assert effect_grid(1.0)[[0, -1]] == pytest.approx([1.08, 20.0])


def test_margin_may_differ_by_cell() -> None:
    """One call with two margins equals two calls."""
    cells = ([9.0, 9.0], [5.0, 5.0], [50.0, 50.0], [60.0, 60.0])
    both = increments(*cells, margin=np.array([1.0, 1.3]))
    for cell, margin in enumerate((1.0, 1.3)):
        assert both[cell].tobytes() == increments(*cells, margin=margin)[cell].tobytes()


def test_swapped_arms_flip_direction() -> None:
    """What accuses the candidate acquits it when the arms change places."""
    series = RateRatioRows()
    rows = series.allocate(2)
    for window, (kt, kc, nt, nc) in enumerate(stream(5, 120, 1, ratio=3)):
        cell = tuple(map(np.concatenate, ((kt, kc), (kc, kt), (nt, nc), (nc, nt))))
        run(series, rows, [cell], first=window)
    found, acquitted = series.log_evidence(rows)
    assert found > 20
    assert acquitted < 0
    there, back = series.confidence(rows, 0.05)
    np.testing.assert_allclose(there, 1 / back[::-1], rtol=1e-9)
    assert there[0] < 3 < there[2]


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 2**32 - 1))
def test_order_of_cells_is_irrelevant(order: list[int], seed: int) -> None:
    """Cells of a window add up to the same evidence in any order."""
    rng = np.random.default_rng(seed)
    cells = np.stack(
        [rng.poisson(3, 6), rng.poisson(4, 6), *rng.integers(1, 99, (2, 6))]
    )
    one_row = adding(np.arange(6), np.zeros(6, np.int64), (1, 6))
    first = one_row @ increments(*cells, margin=1.25)
    second = one_row @ increments(*cells[:, order], margin=1.25)
    np.testing.assert_allclose(first, second, atol=1e-12)


def test_shards_merge_by_counts() -> None:
    """Counts of two shards of a cell, added up, give the cell's own evidence."""
    shards = np.array([[3, 4], [2, 6], [40, 60], [90, 10]], dtype=np.float64)
    merged = increments(*shards.sum(axis=1, keepdims=True), margin=1.25)
    assert merged.tobytes() == increments([7], [8], [100], [100], margin=1.25).tobytes()


def test_strata_never_mix() -> None:
    """A mix shift between strata with different rates is no evidence."""
    cells = ([90.0, 1.0], [10.0, 9.0], [900.0, 100.0], [100.0, 900.0])
    pooled = [[sum(column)] for column in cells]
    one_row = adding(np.arange(2), np.zeros(2, np.int64), (1, 2))
    summed = one_row @ increments(*cells, margin=1.0)
    assert increments(*pooled, margin=1.0).max() > 20
    assert summed.max() < 0


def test_skipping_silent_windows_changes_nothing() -> None:
    """Fed, exposed or skipped windows without bad units: the same wealth bytes."""
    series = RateRatioRows()
    rows = series.allocate(3)
    evidence_columns = ("log_wealth", "page", "run_start_ms", "restarted", "prior_slot")
    for window, cell in enumerate(stream(11, 300, 1, rate=0.001, ratio=3)):
        bad = cell[0] + cell[1] > 0
        run(series, rows[:1], [cell], first=window)
        if bad or window == 0:
            run(series, rows[1:], [tuple(map(np.tile, cell, [2] * 4))], first=window)
        else:
            start = np.array([window * WINDOW_MS])
            totals = np.array([[0.0, cell[2][0], 0.0, cell[3][0], 0.0]])
            series.expose(
                rows[1:2],
                totals,
                window_start_ms=start,
                window_end_ms=start + WINDOW_MS,
            )
    for name in evidence_columns:
        fed, exposed, skipped = getattr(series, name)[rows]
        assert fed.tobytes() == exposed.tobytes() == skipped.tobytes(), name
    assert state(series, rows[:1]) == state(series, rows[1:2])
    assert len(set(series.log_evidence(rows).tolist())) == 1


def test_rows_do_not_touch_each_other() -> None:
    """A row updated alone has the bytes it has among a thousand others."""
    cells = stream(7, 60, 1000, ratio=1.4)
    together = RateRatioRows()
    rows = together.allocate(1000)
    run(together, rows, cells, margin=1.25)
    for row in (0, 1, 500, 997, 999):
        alone = RateRatioRows(1)
        run(
            alone,
            alone.allocate(1),
            [tuple(x[row : row + 1] for x in cell) for cell in cells],
            margin=1.25,
        )
        assert state(alone, [0]) == state(together, [row])
        assert alone.log_evidence([0])[0] == together.log_evidence(rows)[row]
        for since in ("start", "onset"):
            np.testing.assert_array_equal(
                alone.confidence([0], 0.05, since)[0],
                together.confidence(rows, 0.05, since)[row],
            )


def test_order_of_rows_is_irrelevant() -> None:
    """Shuffled and scattered rows end with the bytes of consecutive ones."""
    cells = stream(8, 30, 50, ratio=2)
    plain, mixed = RateRatioRows(), RateRatioRows(200)
    rows = plain.allocate(50)
    run(plain, rows, cells)
    order = np.random.default_rng(1).permutation(50)
    scattered = mixed.allocate(200)[3::4]
    shuffled = [tuple(x[order] for x in cell) for cell in cells]
    run(mixed, scattered[order], shuffled)
    assert state(plain, rows) == state(mixed, scattered)


def test_snapshot_returns_every_byte() -> None:
    """Extracted rows, inserted elsewhere, carry on as if nothing had happened."""
    cells = stream(9, 40, 4, ratio=2)
    series, restored = RateRatioRows(), RateRatioRows(1)
    rows = series.allocate(4, persistence_ms=60_000)
    run(series, rows, cells[:25])
    restored.allocate(3)
    back = restored.insert(series.extract(rows))
    assert state(series, rows) == state(restored, back)
    run(series, rows, cells[25:], first=25)
    run(restored, back, cells[25:], first=25)
    assert state(series, rows) == state(restored, back)


def test_many_rows_take_the_lowest_places() -> None:
    """Thousands at once get the places, and leave the rest, as one by one."""
    together, single = RateRatioRows(), RateRatioRows()
    rng = np.random.default_rng(7)
    freed = rng.choice(4_000, 3_000, replace=False)
    for series in (together, single):
        series.allocate(4_000)
        series.free(freed)
    one_by_one = [int(single.allocate(1)[0]) for _ in range(2_000)]
    assert together.allocate(2_000).tolist() == one_by_one
    rest = [int(series.allocate(1)[0]) for series in (together, single)]
    assert rest == [sorted(freed.tolist())[2_000]] * 2


def test_freed_rows_start_afresh() -> None:
    """A position handed out again knows nothing of its former row."""
    series = RateRatioRows(2)
    rows = series.allocate(5)
    fresh = state(series, rows[1:2])
    run(series, rows, stream(2, 30, 5, ratio=3))
    series.free(rows[1:3])
    assert len(series) == 3
    again = series.allocate(2)
    assert again.tolist() == [1, 2]
    assert state(series, again[:1]) == fresh
    series.reset(rows[:1])
    assert state(series, rows[:1]) == fresh


def test_row_size_is_documented() -> None:
    """The stated size of a row is the size of its columns."""
    block = RateRatioRows().extract([]) | {}
    assert block.keys() == COLUMNS.keys()
    series = RateRatioRows()
    held = series.extract(series.allocate(10)).values()
    assert sum(x.nbytes for x in held) == 10 * BYTES_PER_ROW


def test_late_onset_is_dated() -> None:
    """The onset estimate lies near the window in which a triple rate began."""
    series = RateRatioRows()
    rows = series.allocate(1)
    assert series.onset_ms(rows)[0] == -1
    run(series, rows, stream(21, 600, 1))
    assert series.log_evidence(rows)[0] < np.log(100)
    run(series, rows, stream(22, 120, 1, ratio=3), first=600)
    assert series.log_evidence(rows)[0] > np.log(1000)
    assert abs(int(series.onset_ms(rows)[0]) - 600 * WINDOW_MS) <= 12 * WINDOW_MS
    low, best, high = series.confidence(rows, 0.05, "onset")[0]
    assert low < 3 < high
    assert best == pytest.approx(3, abs=0.8)
    assert series.confidence(rows, 0.05)[0, 1] < 0.7 * best
    bad, units, _, _, excess = series.run_totals[rows[0]]
    assert units < 150 * 100
    assert excess == pytest.approx(bad * 2 / 3, rel=0.2)


def test_blip_does_not_persist() -> None:
    """Two bad minutes give evidence but no persistence; a lasting regression does."""
    series = RateRatioRows()
    rows = series.allocate(2)
    bad = stream(31, 12, 1, ratio=10)
    calm, lasting = stream(32, 60, 1), stream(33, 60, 1, ratio=10)
    run(series, rows, [tuple(map(np.tile, c, [2] * 4)) for c in bad])
    assert (series.log_evidence(rows) > np.log(1000)).all()
    assert not series.persistent(rows).any()
    for window, pair in enumerate(zip(calm, lasting, strict=True), start=12):
        cell = tuple(map(np.concatenate, zip(*pair, strict=True)))
        run(series, rows, [cell], first=window)
        assert not series.persistent(rows)[0]
    assert series.persistent(rows, PERSISTENCE_MS).tolist() == [False, True]
    assert not series.persistent(rows, 3_600_000).any()


def test_silent_window_ends_persistence() -> None:
    """The newest window must speak for harm: an empty one does not."""
    series = RateRatioRows()
    rows = series.allocate(1)
    run(series, rows, stream(33, 60, 1, ratio=10))
    assert series.persistent(rows)[0]
    units, nothing = np.array([100.0]), np.zeros(1)
    run(series, rows, [(nothing, nothing, units, units)], first=60)
    assert not series.persistent(rows)[0]


def test_recovery_follows_the_rate() -> None:
    """Recovery is seen after the rate is back, not while the harm lasts."""
    series = RateRatioRows()
    rows = series.allocate(1)
    run(series, rows, stream(41, 90, 1, ratio=3), margin=1.25)
    series.reset_recovery(rows)
    run(series, rows, stream(42, 90, 1, ratio=3), margin=1.25, first=90)
    assert not series.recovered(rows, np.log(20))[0]
    run(series, rows, stream(43, 300, 1), margin=1.25, first=180)
    assert series.recovered(rows, np.log(20))[0]
    series.reset_recovery(rows)
    assert not series.recovered(rows, np.log(20))[0]


def test_interval_contains_exact_limits() -> None:
    """Limits between grid points are never narrower than the exact crossing."""
    rng = np.random.default_rng(4)
    cells = np.stack(
        [rng.poisson(30, 200), rng.poisson(50, 200), *[np.full(200, 99)] * 2]
    )
    alpha = 0.05
    seen = ratio_log_likelihood(*cells)
    intervals = ratio_interval(seen, alpha)
    level = np.log(np.exp(seen).mean(axis=1) * alpha)
    for side, outward in ((0, -1), (2, 1)):
        edge = intervals[:, side]
        at_edge = cells[0] * np.log(edge) - cells[:2].sum(axis=0) * np.log1p(
            (edge - 1) / 2
        )
        assert (at_edge <= level + 1e-9).all()
        inner = np.exp(
            np.log(edge) - outward * 0.5 * np.log(RATIO_GRID[1] / RATIO_GRID[0])
        )
        inside = cells[0] * np.log(inner) - cells[:2].sum(axis=0) * np.log1p(
            (inner - 1) / 2
        )
        assert (inside > level).all()


def test_interval_of_nothing_is_open() -> None:
    """Without a bad unit every ratio is possible and none is best."""
    low, best, high = ratio_interval(np.zeros((1, RATIOS)), 0.05)[0]
    assert (low, high) == (0.0, np.inf)
    assert np.isnan(best)
    one_sided = ratio_log_likelihood([60.0], [0.0], [100.0], [100.0])
    assert ratio_interval(one_sided, 0.05)[0, 2] == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: increments([-1], [0], [9], [9], margin=1),
            r"bad_candidate\[0\] is -1",
        ),
        (lambda: increments([1], [np.nan], [9], [9], margin=1), r"bad_control\[0\]"),
        (
            lambda: increments([1], [1], [9, 9], [9], margin=1),
            "units_candidate has shape",
        ),
        (lambda: increments([1], [1], [9], [9], margin=0), "margin 0.0 is not a ratio"),
        (lambda: effect_grid(np.inf), "is not a ratio"),
        (lambda: ratio_interval(np.zeros((1, RATIOS)), 1.0), "alpha 1.0 must lie"),
        (lambda: RateRatioRows().log_evidence([0]), "not allocated"),
        (lambda: RateRatioRows().log_evidence([[0]]), "pass a vector"),
        (lambda: RateRatioRows().insert({}), "missing or unknown"),
    ],
)
def test_bad_input_names_the_place(call: Any, message: str) -> None:
    """Unusable arguments are refused with the place and the fix."""
    with pytest.raises(ValueError, match=message):
        call()


def test_update_refuses_spoilt_increments() -> None:
    """Not-a-number, wrong shapes, twice the same row: refused, state unchanged."""
    series = RateRatioRows()
    rows = series.allocate(2)
    before = state(series, rows)
    good = np.zeros((2, EFFECTS))
    for chosen, evidence, word in (
        (rows, np.full((2, EFFECTS), np.nan), r"evidence\[0\]"),
        (rows, np.zeros((2, 3)), "evidence has shape"),
        (rows[[0, 0]], good, "twice"),
        (rows[:1], good[:1], "window_start_ms has shape"),
    ):
        with pytest.raises(ValueError, match=word):
            series.update(
                chosen, evidence, window_start_ms=[0, 0], window_end_ms=[1, 1]
            )
    assert state(series, rows) == before
    block = series.extract(rows) | {"page": np.zeros((2, 3))}
    with pytest.raises(ValueError, match="column page is"):
        series.insert(block)
    with pytest.raises(ValueError, match="since='end'"):
        series.confidence(rows, 0.05, "end")  # type: ignore[arg-type]
