"""How often one caller may ask the gates, and from where."""

from __future__ import annotations

import numpy as np
import pytest

from streams.errors import Refused
from streams.gate.exposure import check_exposure
from streams.gate.limits import BURST_S, CALLERS_MAX, Buckets, network_of


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_burst_then_rate() -> None:
    """A full bucket gives its burst at once, then one for each interval."""
    clock = Clock()
    buckets = Buckets(2.0, clock)
    assert [buckets.take("a") for _ in range(int(2 * BURST_S))] == [0] * int(
        2 * BURST_S
    )
    assert buckets.take("a") == 1
    clock.now_s += 0.5
    assert (buckets.take("a"), buckets.take("a")) == (0, 1)


def test_waiting_as_told_lets_in() -> None:
    """Whoever waits as long as it was told gets in, at slow rates, too."""
    clock = Clock()
    buckets = Buckets(0.03, clock)
    while not (wait_s := buckets.take("a")):
        pass
    clock.now_s += wait_s
    assert buckets.take("a") == 0


def test_callers_do_not_share() -> None:
    """What one has used up is there for another."""
    buckets = Buckets(0.1, Clock())
    assert [buckets.take("a"), buckets.take("a"), buckets.take("b")] == [0, 10, 0]


def test_no_rate_is_exceeded(rng: np.random.Generator) -> None:
    """Over any time no more are let in than the burst and what flows back."""
    clock = Clock()
    buckets = Buckets(5.0, clock)
    let_in = 0
    for _ in range(5_000):
        clock.now_s += float(rng.exponential(0.05))
        let_in += buckets.take("a") == 0
    assert let_in <= 5.0 * (BURST_S + clock.now_s)
    assert let_in >= 5.0 * clock.now_s * 0.9


def test_many_callers_fill_no_memory() -> None:
    """The longest silent are forgotten, the present one never."""
    buckets = Buckets(0.1, Clock())
    for number in range(CALLERS_MAX + 100):
        buckets.take(str(number))
    assert len(buckets._buckets) == CALLERS_MAX
    assert buckets.take(str(CALLERS_MAX + 99)) > 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("", "unknown"),
    ],
)
def test_networks_are_whose_they_are(address: str | None, network: str) -> None:
    """An owner of IPv6 addresses has the half of them; one bucket for all."""
    assert network_of(address) == network


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "gates.example", "::"])
def test_reachable_gates_need_both(host: str) -> None:
    """Beyond loopback: no tokens, no start; no TLS, no start unless it was said."""
    says = {"has_tokens": True, "has_tls": True, "is_plain_allowed": False}
    check_exposure(host, **says)
    with pytest.raises(Refused, match="HYPERCARE_GATES_TOKENS"):
        check_exposure(host, **says | {"has_tokens": False})
    with pytest.raises(Refused, match="HYPERCARE_GATES_PLAIN"):
        check_exposure(host, **says | {"has_tls": False})
    check_exposure(host, **says | {"has_tls": False, "is_plain_allowed": True})


def test_loopback_needs_neither() -> None:
    """On this machine alone nothing has to be set."""
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(host, has_tokens=False, has_tls=False, is_plain_allowed=False)
