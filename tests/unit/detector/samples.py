"""One full, valid object of every kind, for the tests of decoding."""

from __future__ import annotations

import base64
import json
from typing import Any

from datasketches import hll_sketch

TS = 1_700_000_000_000


def sketch(users: int = 300, lg_k: int = 8) -> str:
    """A base64 HLL sketch of that many users."""
    found = hll_sketch(lg_k)
    for user in range(users):
        found.update(user)
    return base64.b64encode(found.serialize_compact()).decode()


_COMMON: dict[str, Any] = {
    "ts": TS,
    "service": "checkout",
    "environment": "production",
    "id": "req-1",
    "sent_at": TS + 5,
    "received_at": TS + 9,
}
_TELEMETRY: dict[str, Any] = {
    **_COMMON,
    "release": "shop@1.2.3",
    "attrs": {"region": "eu-west-1", "os": "ios"},
    "component": "cart",
    "component_version": "7",
    "changes": {"flag:new-cart": "on"},
    "user": "h:0123456789abcdef",
    "session": "h:fedcba9876543210",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "url": "https://shop.example/cart",
    "tenant": "acme",
    "synthetic": False,
    "sample_rate": 0.5,
    "sender": "pod-1",
    "seq": 4,
}

SAMPLES: dict[str, dict[str, Any]] = {
    "usage": {
        **_TELEMETRY,
        "kind": "usage",
        "unit": "session",
        "outcome": "ok",
        "duration_ms": 12.5,
        "step": "pay",
        "previous_session": {
            "release": "shop@1.2.2",
            "outcome": "crashed",
            "started_ts": TS - 60_000,
        },
    },
    "usage-aggregate": {
        **_TELEMETRY,
        "kind": "usage",
        "window_s": 10,
        "count": 120,
        "sessions": 40,
        "outcomes": {"ok": 110, "server_error": 10},
        "users": 35,
        "users_sketch": sketch(35),
    },
    "error": {
        **_TELEMETRY,
        "kind": "error",
        "type": "KeyError",
        "message": "no order 4711",
        "frames": ["pay (cart.py:10)", "run (app.py:1)"],
        "severity": "error",
        "handled": True,
    },
    "error-aggregate": {
        **_TELEMETRY,
        "kind": "error",
        "window_s": 60,
        "signature": "KeyError | pay",
        "count": 9,
        "sessions": 7,
        "users": 6,
        "users_sketch": sketch(6),
    },
    "latency": {
        **_TELEMETRY,
        "kind": "latency",
        "window_s": 10,
        "bounds_ms": [1.0, 10.0, 100.0],
        "counts": [5, 6, 7, 8],
        "step": "pay",
    },
    "latency-exponential": {
        **_TELEMETRY,
        "kind": "latency",
        "window_s": 10,
        "exponential": {
            "scale": 3,
            "zero_count": 1,
            "positive": {"offset": -4, "counts": [1, 2, 3]},
        },
    },
    "feedback": {
        **_TELEMETRY,
        "kind": "feedback",
        "channel": "store",
        "text": "the cart is empty",
        "score": 2,
        "urgency": "high",
        "category": "cart",
    },
    "feedback-aggregate": {
        **_TELEMETRY,
        "kind": "feedback",
        "window_s": 60,
        "count": 10,
        "score_sum": 31,
    },
    "deploy": {
        **_COMMON,
        "kind": "deploy",
        "release": "shop@1.2.3",
        "phase": "progressed",
        "strategy": "canary",
        "weight": 0.1,
        "scope": {"region": "eu-west-1"},
        "predecessor": "shop@1.2.2",
        "change": "config",
        "components": {"cart": "7"},
        "component": "cart",
        "depends_on": ["payment"],
        "fixes": ["KeyError | pay"],
        "rollback": "auto",
        "criticality": "high",
        "owner": "team-cart",
        "roster": "cart-oncall",
        "artifact": "pkg:oci/shop@sha256%3A0b31",
        "actor": "ci",
        "change_url": "https://git.example/shop/pull/7",
    },
    "command": {
        **_COMMON,
        "kind": "command",
        "name": "acknowledge",
        "release": "shop@1.2.3",
        "recommendation_id": "rec_abc",
        "actor": "alice",
        "reason": "known",
        "value": "yes",
        "rules_hash": "ab12",
        "rules_text": "version: 1",
    },
    "tick": {**_COMMON, "kind": "tick", "service": "all"},
}


def encoded(name: str, **changes: Any) -> bytes:
    """A sample as JSON, with fields changed; a value of ``...`` removes one."""
    merged = {**SAMPLES[name], **changes}
    return json.dumps({k: v for k, v in merged.items() if v is not ...}).encode()
