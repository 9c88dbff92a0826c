"""Counts drawn from the expectations of a world, all windows at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from detector.evidence.types import FloatArray
from detector.simulator.world import CANDIDATE, ExtraErrors, World

Counts = NDArray[np.int64]

RATE_MAX = 0.95
TAIL_FACTOR = 10.0
SHIFT_STEP = 0.01
"""Latency shifts are rounded to this log factor, so that few curves are needed."""


@dataclass
class Drawn:
    """Counts of a run, axes (release, window, stratum) and then their own.

    Attributes
    ----------
    sessions, requests, users : arrays
        Units at risk. Users are those of a single sender.
    signatures : list of str
        Names on the last axis of the next three.
    bad, events, bad_users : arrays (..., signature)
        Failed sessions, their error events, and distinct users hit.
    durations : array (..., bucket) or None
        Duration histogram.
    came, passed : arrays (..., step)
        Sessions that came to each step of the funnel and those that passed it.
    voices, scores : arrays
        Feedbacks and the sum of their scores.
    """

    sessions: Counts
    requests: Counts
    users: Counts
    signatures: list[str]
    bad: Counts
    events: Counts
    bad_users: Counts
    durations: Counts | None
    came: Counts
    passed: Counts
    voices: Counts
    scores: Counts


def draw(world: World, rng: np.random.Generator) -> Drawn:
    """Draw a run; the same generator state gives the same counts."""
    expected = world.traffic * world.share * world.volume
    kept = world.feed.keep_usage[:, :, None]
    sessions = rng.poisson(expected)
    names, bad, loads = _failures(world, rng, sessions)
    bad_users, users = bad.copy(), sessions
    for number, extra in enumerate(world.extra, start=len(names) - len(world.extra)):
        visits = rng.poisson(extra.visitors)
        devices = np.ceil(visits / extra.devices).astype(np.int64)
        sessions, users = sessions + visits, users + devices
        bad[..., number] += visits
        bad_users[..., number] += devices
    seen = _thin(rng, sessions, kept)
    bad = _thin(rng, bad, world.feed.keep_errors[:, :, None, None])
    bad_users = np.minimum(bad, bad_users)
    surplus = rng.poisson(bad * (np.array(loads) - 1.0))
    came, passed = _funnel(world, rng, seen)
    return Drawn(
        sessions=seen,
        requests=_requests(world, rng, seen),
        users=np.minimum(users, seen),
        signatures=names,
        bad=bad,
        events=bad + surplus,
        bad_users=bad_users,
        durations=_durations(world, rng, seen),
        came=came,
        passed=passed,
        voices=(voices := rng.poisson(sessions * world.voices)),
        scores=voices + rng.binomial(4 * voices, np.clip((world.score - 1) / 4, 0, 1)),
    )


def _requests(world: World, rng: np.random.Generator, sessions: Counts) -> Counts:
    """A first request of each session at once, the others while it lasts."""
    service = world.service
    load = sessions.astype(np.float64)
    if service.session_spread > 0.0:
        variance = service.session_spread**2
        load = rng.gamma(load / variance, variance)
    if service.session_min > 0.0:
        # Those that are there now: what began, and who stayed since the last window.
        # Before the first one as many had begun as in it.
        stay = math.exp(-service.window_s / (60.0 * service.session_min))
        for index in range(1, world.windows):
            load[:, index] = load[:, index - 1] * stay + load[:, index] * (1.0 - stay)
    more = np.maximum(0.0, service.requests_per_session * world.acts - 1.0)
    return rng.poisson(load * more) + sessions


def _thin(rng: np.random.Generator, counts: Counts, keep: FloatArray) -> Counts:
    """What survives sampling; nothing is drawn where everything is kept."""
    return counts if np.all(keep == 1.0) else rng.binomial(counts, keep)


def _failures(
    world: World, rng: np.random.Generator, sessions: Counts
) -> tuple[list[str], Counts, list[float]]:
    """Names, failed sessions per name and events per failure of each name."""
    service = world.service
    rate = np.minimum(world.rate, RATE_MAX)
    total = rng.binomial(sessions, rate)
    parts = np.array([part for _, part in service.signatures])
    own = rng.multinomial(total, parts / parts.sum())
    names = [name for name, _ in service.signatures]
    loads = [service.events_per_failure] * len(names)
    if world.renamed:
        own, names = _rename(world, rng, own, names)
        loads = loads * 2
    columns = [own]
    for extra in world.extra:
        columns.append(_of_extra(extra, rng, sessions)[..., None])
        names.append(extra.signature)
        loads.append(extra.events_per_failure)
    return names, np.concatenate(columns, axis=-1), loads


def _of_extra(extra: ExtraErrors, rng: np.random.Generator, sessions: Counts) -> Counts:
    if not extra.rate.any():
        return np.zeros_like(sessions)
    return rng.binomial(sessions, np.minimum(extra.rate, RATE_MAX))


def _rename(
    world: World, rng: np.random.Generator, own: Counts, names: list[str]
) -> tuple[Counts, list[str]]:
    """Give a share of the candidate's failures new names."""
    moved = np.zeros_like(own)
    moved[CANDIDATE] = rng.binomial(own[CANDIDATE], world.renamed)
    fresh = [f"Renamed{name}" for name in names]
    return np.concatenate([own - moved, moved], axis=-1), names + fresh


def _funnel(
    world: World, rng: np.random.Generator, sessions: Counts
) -> tuple[Counts, Counts]:
    """Who came to each step of the funnel and who passed it."""
    here, came, passed = sessions, [], []
    for number in range(world.passing.shape[-1]):
        came.append(here)
        here = rng.binomial(here, world.passing[..., number])
        passed.append(here)
    if not came:
        empty = np.zeros((*sessions.shape, 0), dtype=np.int64)
        return empty, empty
    return np.stack(came, axis=-1), np.stack(passed, axis=-1)


def _durations(
    world: World, rng: np.random.Generator, sessions: Counts
) -> Counts | None:
    """A duration of each session, in buckets."""
    shape = world.service.latency
    if shape is None:
        return None
    edges = np.log(np.array(shape.bounds_ms) / shape.median_ms)
    steps = np.rint(world.slower / SHIFT_STEP).astype(np.int64)
    shifts, place = np.unique(steps, return_inverse=True)
    place = place.reshape(steps.shape)
    body = _bucket_chances(edges - shifts[:, None] * SHIFT_STEP, shape.log_sd)
    far = edges - shifts[:, None] * SHIFT_STEP - np.log(TAIL_FACTOR)
    tail = _bucket_chances(far, shape.log_sd)
    weight = world.tail[..., None]
    chances = (1 - weight) * body[place] + weight * tail[place]
    return rng.multinomial(sessions, chances)


def _bucket_chances(edges: FloatArray, log_sd: float) -> FloatArray:
    """Chance of each bucket of a log-normal duration, rows of edges."""
    below = ndtr(edges / log_sd)
    ends = np.ones((len(edges), 1))
    chances: FloatArray = np.diff(below, axis=1, prepend=0.0, append=ends)
    return chances
