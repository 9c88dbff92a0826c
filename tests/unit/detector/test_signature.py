"""Signatures: equal for one fault over builds, distinct for two faults."""

from __future__ import annotations

import pytest

from detector.events import Error
from detector.signature import (
    SIGNATURE_CHARS_MAX,
    UNKNOWN,
    mask_message,
    normalise_frame,
    signature_of,
)

SAME_FRAME = [
    ('  File "/app/pay.py", line 12, in run', '  File "/app/pay.py", line 99, in run'),
    ("at shop.Cart.pay(Cart.java:12)", "at shop.Cart.pay(Cart.java:345)"),
    ("at shop.Cart$1.run(Cart.java:1)", "at shop.Cart$2.run(Cart.java:1)"),
    ("at shop.Cart.lambda$pay$0(C.java:1)", "at shop.Cart.lambda$pay$17(C.java:2)"),
    (
        "at shop.Cart$$Lambda$14/0x0000000800c03000.run",
        "at shop.Cart$$Lambda$27/0x0000000800d11111.run",
    ),
    (
        "https://cdn.a.io/s/app.3f9a2b1c.js?v=1:10:7",
        "https://cdn.b.io/s/app.77aa01ff.js?v=2:9:1",
    ),
    ("pay@https://a.io/cart.js:1:2", "pay@https://b.io/cart.js:33:4"),
    ("main.run.func1.2 +0x1f", "main.run.func3 +0x2c"),
    ("Shop.<>c__DisplayClass5_0.<Pay>b__0()", "Shop.<>c__DisplayClass7_1.<Pay>b__2()"),
    ("libshop.so 0x7fff12ab + 123", "libshop.so 0x7fff99cd + 4"),
    ("closure #1 in Cart.pay()", "closure #2 in Cart.pay()"),
    ("node_modules/cart@1.2.3/pay.js:4", "node_modules/cart@1.3.0/pay.js:5"),
]


@pytest.mark.parametrize(("first", "second"), SAME_FRAME)
def test_builds_share_a_frame(first: str, second: str) -> None:
    """The same place in two builds gives the same frame, with its words."""
    assert normalise_frame(first) == normalise_frame(second) != ""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("utf8.decode (a.py:1)", "utf16.decode (a.py:1)"),
        ("at shop.Cart.pay(Cart.java:1)", "at shop.Cart.buy(Cart.java:1)"),
        ("pay (cart.js:1:1)", "pay (shop.js:1:1)"),
    ],
)
def test_functions_stay_distinct(first: str, second: str) -> None:
    """Other functions and files give other frames."""
    assert normalise_frame(first) != normalise_frame(second)


SAME_MESSAGE = [
    ("no order 4711", "no order 12"),
    ("order AB12CD34 failed", "order 9F8E7D6C failed"),
    ("timeout after 12.5s on 10.0.0.1:80", "timeout after 3s on 10.0.0.2:8080"),
    ("can't open 'a b.txt'", "can't open 'c'"),
    ('no key "x" in map', 'no key "yy zz" in map'),
    ("mail to bob@example.com", "mail to eve@example.org"),
    (
        "id 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "id 550e8400-e29b-41d4-a716-446655440000",
    ),
    ("at 0xdeadbeef", "at 0x12"),
    ("GET https://a.io/x?u=1 failed", "GET https://b.io/y failed"),
]


@pytest.mark.parametrize(("first", "second"), SAME_MESSAGE)
def test_values_are_masked(first: str, second: str) -> None:
    """Messages that differ in values alone are one."""
    assert mask_message(first) == mask_message(second)


@pytest.mark.parametrize(
    "message", ["can't open user's file", "utf8 is not base64", "cart is empty"]
)
def test_words_are_kept(message: str) -> None:
    """Words, apostrophes and names such as utf8 are no values."""
    assert message == mask_message(message)


def test_ready_signature_wins() -> None:
    """A sender's signature is used as it is."""
    error = Error(ts=0, service="a", release="1", signature=" my sig 12 ", type="X")
    assert "my sig 12" == signature_of(error)


def test_frames_come_before_message() -> None:
    """With frames the message, which varies, plays no part."""
    errors = [
        Error(ts=0, service="a", release="1", type="E", message=m, frames=["f (a.c:1)"])
        for m in ("one", "two")
    ]
    assert {"E | f (a.c)"} == {signature_of(error) for error in errors}


def test_empty_error_has_signature() -> None:
    """An error without any detail still belongs to a signature."""
    bare = Error(ts=0, service="a", release="1", frames=[":1", "0x1"], message=" ")
    assert UNKNOWN == signature_of(bare)


def test_long_signatures_stay_distinct() -> None:
    """Signatures are at most 200 characters and differ where the texts do."""
    found = [
        signature_of(Error(ts=0, service="a", release="1", signature="x" * 300 + end))
        for end in "ab"
    ]
    assert found[0] != found[1]
    assert {SIGNATURE_CHARS_MAX} == {len(text) for text in found}


@pytest.mark.parametrize("text", [*sum(SAME_FRAME, ()), *sum(SAME_MESSAGE, ())])
def test_masking_twice_changes_nothing(text: str) -> None:
    """What is masked already stays as it is."""
    assert mask_message(mask_message(text)) == mask_message(text)
    assert normalise_frame(normalise_frame(text)) == normalise_frame(text)
