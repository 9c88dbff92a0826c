"""How fast decoding is, beside plain msgspec on the same bytes.

    python bench/decode.py

Prints events/s for 200-byte usage events, single and in arrays of 100, and the
ratio to a bare ``msgspec.json.Decoder`` of the same types: what the checks cost.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec

from detector.decode import decode
from detector.events import Event

EVENT = (
    b'{"kind":"usage","ts":1700000000000,"service":"checkout","release":"shop-2.31",'
    b'"attrs":{"region":"eu-west-1","os":"ios"},"user":"h:0123456789abcdef",'
    b'"outcome":"ok","duration_ms":12.5,"id":"req-00000001"}'
)
AT_NAMED = EVENT.replace(b"shop-2.31", b"shop@2.31")
ROUNDS = 9
EVENTS_PER_ROUND = 40_000


def rate(run: Callable[[bytes], object], value: bytes, events: int) -> float:
    """Events per second of processor time in one round."""
    calls = EVENTS_PER_ROUND // events
    start = time.process_time()
    for _ in range(calls):
        run(value)
    return calls * events / (time.process_time() - start)


def main() -> None:
    """Interleave the two, so that a slow moment hits both, and print medians."""
    plain = msgspec.json.Decoder(list[Event] | Event).decode
    gc.disable()
    cases = {
        "single": (EVENT, 1),
        "array of 100": (b"[" + b",".join([EVENT] * 100) + b"]", 100),
        "array of 100, release with @": (
            b"[" + b",".join([AT_NAMED] * 100) + b"]",
            100,
        ),
    }
    print(f"{len(EVENT)} bytes an event, median of {ROUNDS} interleaved rounds")
    for name, (value, events) in cases.items():
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(rate(decode, value, events))
            theirs.append(rate(plain, value, events))
        mine, bare = statistics.median(ours), statistics.median(theirs)
        print(f"{name}: {mine:,.0f}/s, msgspec {bare:,.0f}/s, ratio {mine / bare:.2f}")


if __name__ == "__main__":
    main()
