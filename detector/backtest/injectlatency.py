"""Durations made longer: histograms bucket by bucket, single ones as they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Json = dict[str, Any]
OPEN_END = 2.0
"""The open bucket is taken to reach to so many times its lower edge."""
BUCKETS_MAX = 512


def slower(member: Json, factor: float, rng: np.random.Generator) -> Json:
    """The record with its durations times ``factor``; others as they are.

    Counts keep their total. Inside a bucket durations are taken to lie evenly.
    """
    if member["kind"] == "usage" and isinstance(
        duration := member.get("duration_ms"), int | float
    ):
        return {**member, "duration_ms": round(duration * factor, 3)}
    if member["kind"] != "latency":
        return member
    if isinstance(exponential := member.get("exponential"), dict):
        return {**member, "exponential": _exponential(exponential, factor, rng)}
    bounds, counts = member.get("bounds_ms"), member.get("counts")
    if not bounds or not counts or len(counts) != len(bounds) + 1:
        return member
    return {**member, "counts": _moved(bounds, counts, factor, rng)}


def _moved(
    bounds: list[float], counts: list[int], factor: float, rng: np.random.Generator
) -> list[int]:
    lower = np.array([0.0, *bounds])
    upper = np.array([*bounds, max(bounds[-1], 1e-9) * OPEN_END])
    edges = np.array([0.0, *bounds, math.inf])
    total = np.zeros(len(counts), dtype=np.int64)
    for low, high, count in zip(lower, upper, counts, strict=True):
        if not count:
            continue
        width = max(high - low, 1e-9)
        # Where the new edges cut the bucket after every duration in it has grown.
        below = np.clip((edges / factor - low) / width, 0.0, 1.0)
        shares = np.diff(below)
        total += rng.multinomial(count, shares / shares.sum())
    return [int(n) for n in total]


def _exponential(whole: Json, factor: float, rng: np.random.Generator) -> Json:
    positive = whole.get("positive") or {}
    counts = positive.get("counts") or []
    if not counts or factor <= 0:
        return whole
    steps = math.log2(factor) * 2.0 ** whole["scale"]
    first = math.floor(steps)
    moved = [0] * (len(counts) + 1)
    for index, count in enumerate(counts):
        further = int(rng.binomial(count, steps - first))
        moved[index] += count - further
        moved[index + 1] += further
    if len(moved) > BUCKETS_MAX:
        last = moved.pop()
        moved[-1] += last
    if not moved[-1]:
        moved.pop()
    offset = positive.get("offset", 0) + first
    return {**whole, "positive": {**positive, "offset": offset, "counts": moved}}
