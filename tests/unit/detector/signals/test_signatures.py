"""New signatures, renames, scanners and crash loops, through whole windows.

Every scene is drawn from a fixed seed: the same windows each time, so the chance that
a correct program fails is 0.
"""

from __future__ import annotations

import pytest

from detector.catalogue import aside_counts
from tests.unit.detector.signals.failing_shop import (
    NEW,
    USUAL,
    WIDTH_MS,
    Fault,
    Shop,
)

NEW_FAULT = Fault("UnhandledRejection in flags", share=0.004)
SCANNER = Fault("404 at /wp-login.php", pace=3.0, events=6.0, strata=(2,))


def ramp(window: int) -> float:
    """5, 25 and 50 % for an hour each."""
    return (0.05, 0.25, 0.5)[min(2, window // 60)]


def test_signature_that_adds_fires() -> None:
    """A fifth more failures under a new name are found within an hour."""
    fired = Shop(1, faults=(NEW_FAULT,)).run(60)
    assert {(f.reason, f.detail, f.segment) for f in fired} == {
        ("new_signature", NEW_FAULT.name, ())
    }
    assert all(f.acts for f in fired)


def test_renamed_signatures_never_fire() -> None:
    """New names that replace old ones are no new failures."""
    assert Shop(2, renamed=True).run(240) == []


def test_fault_beside_rename_fires() -> None:
    """A rename of everything does not hide what comes on top of it."""
    fault = NEW_FAULT._replace(share=0.02)
    fired = Shop(3, renamed=True, faults=(fault,)).run(120)
    assert {f.detail for f in fired} == {fault.name}


def test_name_alike_fires_with_total() -> None:
    """A fault named like a known failure is new where both together are more."""
    known = next(iter(USUAL))
    fault = NEW_FAULT._replace(name=f"{known} v2", share=0.01)
    assert {f.detail for f in Shop(4, faults=(fault,)).run(120)} == {fault.name}


def test_name_alike_is_no_news() -> None:
    """A few hits that look like a known failure's new name add nothing to it."""
    known = max(USUAL, key=lambda name: USUAL[name])
    fault = NEW_FAULT._replace(name=f"{known} v2", share=0.001)
    assert Shop(4, faults=(fault,)).run(120) == []


def test_known_failures_never_fire() -> None:
    """Old failures going on in the new release are not new."""
    assert Shop(4).run(240) == []


def test_scanner_is_only_investigated() -> None:
    """A scanner of the new release is shown to people and rolls nothing back."""
    shop = Shop(5, share=ramp, faults=(SCANNER,))
    fired = shop.run(180)
    assert {(f.reason, f.detail, f.acts) for f in fired} == {
        ("unusual_client", SCANNER.name, False)
    }
    assert shop.aside == {SCANNER.name}


def test_fault_beside_scanner_fires() -> None:
    """A scanner does not hide a fault of the same release."""
    fired = Shop(6, share=ramp, faults=(SCANNER, NEW_FAULT)).run(180)
    assert {f.detail for f in fired if f.acts} == {NEW_FAULT.name}


def test_stratum_without_past_is_mute() -> None:
    """Where older releases never were, nothing can be new."""
    fault = Fault("404 at /.env", share=0.9, strata=(2,))
    assert Shop(7, only_new=(2,), faults=(fault,)).run(120) == []


@pytest.mark.parametrize("strata", [(0, 1, 2), (2,)])
def test_crash_loop_with_dose_fires(strata: tuple[int, ...]) -> None:
    """Many crashes per user that grow with the exposure are the release's own."""
    loop = Fault("crash at start", share=0.03, events=6.0, strata=strata)
    shop = Shop(8, share=ramp, faults=(loop,))
    fired = [f for f in shop.run(180) if f.acts]
    assert {f.detail for f in fired} == {loop.name}
    assert shop.aside == set()


def test_segment_of_new_signature_named() -> None:
    """A new signature that lives in one region names it."""
    fault = NEW_FAULT._replace(share=0.05, strata=(1,))
    fired = Shop(9, faults=(fault,)).run(60)
    assert fired[-1].segment == (("region", "r1"),)


def test_vanished_fault_stops_firing() -> None:
    """Once the signature is gone for a while, the finding no longer fires."""
    shop = Shop(10, faults=(NEW_FAULT._replace(share=0.05),))
    assert shop.run(30)
    shop.faults = ()
    shop.run(10)
    assert shop.run(30) == []


def test_onset_is_first_window() -> None:
    """The onset is the start of the window with the first hit."""
    shop = Shop(11, faults=(NEW_FAULT._replace(share=0.2),))
    fired = shop.run(10)
    assert fired[0].onset_ms == shop.new.started_ms
    assert fired[0].onset_ms % WIDTH_MS == 0


def test_same_stream_same_findings() -> None:
    """Two runs over the same windows say the same, to the last bit."""
    first, second = (Shop(12, faults=(NEW_FAULT, SCANNER)).run(60) for _ in range(2))
    assert first == second != []


def test_aside_hits_leave_arm() -> None:
    """Users hit by a set-aside signature are neither at risk nor failed."""
    shop = Shop(13, faults=(SCANNER,))
    shop.run(20)
    window = shop.close({shop.old.number: 0.75, shop.new.number: 0.25})
    cell = window.cell(shop.new.number, 2)
    number = shop.scope.catalogue.numbers[SCANNER.name]
    gone = aside_counts(cell.signatures, frozenset({number}), "user")
    assert gone == (cell.signatures[number].users,) * 2
    assert shop.new.name == NEW
