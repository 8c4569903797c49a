"""A fleet simulated: requests, polls, windows and turns come to the processes that there is one of, and wait there.

Each such process is a queue that serves one piece of work at a time, in the order of arrival. The monitor writes all
events together that wait for one model. Service times are measured costs. What grows with the fleet alone, such as
replicas, is counted rather than simulated.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LATEST_S",
    "Costs",
    "Fleet",
    "Needs",
    "Station",
    "Wall",
    "fifo",
    "needs_of",
    "shared",
    "simulate",
    "wall_of",
]

Floats = NDArray[np.float64]

CONTROLLER_EVERY_S = 1.0
_MOST_BUSY = 0.8
"""A queue that is busier has no room for a burst, and the waits in it grow steeply."""
LATEST_S = 10.0
"""Events that are acknowledged later than that come too late for what watches them, and are lost with their replica."""
_MOST_TIMES = 64.0


@dataclass(frozen=True)
class Costs:
    """What was measured, in seconds of one process and in bytes."""

    request_s: float
    """One row over HTTP, within a replica, with its event."""
    event_batch_s: float
    """A commit of one model's prediction events, whatever its rows; there is one at a time."""
    event_row_s: float
    """One more event in a batch."""
    metadata_read_s: float
    """A poll's question to the metadata store."""
    metadata_write_s: float
    """A write that is acknowledged, of many clients at once."""
    profile_row_s: float
    """One row of a window that is closed."""
    turn_s: float
    """The controller's turn of one model."""
    pooled_model_bytes: float
    """A small model in memory, its endpoint with it."""
    process_bytes: float
    """A replica before its first model."""


@dataclass(frozen=True)
class Fleet:
    """What is asked of a platform, and how it is configured."""

    models: int = 1000
    requests_per_s: float = 1000.0
    """Of all models; they share it by Zipf's law."""
    rows_per_request: int = 1
    own_models: float = 0.0
    """Share of the models, the busiest of them, that have processes of their own; the others are in the pool."""
    window_s: float = 3600.0
    writes_per_window: int = 3
    runs_per_day: float = 50.0
    """Of all models, as the fleet's budget has them."""
    writes_per_run: int = 40
    poll_every_s: float = 1.0
    questions_per_poll: int = 2
    flush_every_s: float = 0.5
    flush_rows: int = 500
    replica_busy: float = 0.5
    """Share of a replica's core that its requests take."""
    windows_in_step: bool = True
    """Whether the windows of all models end in the same instant."""


class Needs(NamedTuple):
    """What replicas take."""

    own_replicas: int
    pool_replicas: int
    cores: float
    memory_bytes: float


class Station(NamedTuple):
    """A process that there is one of, over the simulated time."""

    name: str
    busy: float
    """Share of the time in which it works; of the metadata actor and the controller, above 1 it falls behind."""
    p99_wait_s: float
    """Until a piece of work is begun; of the monitor, until events are acknowledged."""
    longest_wait_s: float
    full: bool
    """Whether it can take no more: busy for four fifths of the time, or events are acknowledged too late."""


class _Work(NamedTuple):
    """Pieces of work that come to a station."""

    at: Floats
    services: Floats
    share: float = 1.0
    """Of all minutes, those in which it comes."""


class Wall(NamedTuple):
    """How far a fleet can grow."""

    station: str
    """The process that is full first; none where the fleet may be so much larger."""
    times: float
    """How often the fleet can be had."""


def fifo(arrivals: Floats, services: Floats) -> Floats:
    """How long each piece of work waits before it is served, one at a time, in the order of arrival.

    Args:
        arrivals: Ascending instants.
        services: How long each takes.
    """
    done = np.cumsum(services)
    before = done - services
    return np.maximum.accumulate(arrivals - before) + before - arrivals


def shared(arrivals: Floats, lines: NDArray[np.int64], commit_s: float, piece_s: Floats) -> tuple[Floats, float]:
    """How long each piece takes from its arrival to its end, where all that wait in one line are served together.

    Lines are served in the order in which their oldest pieces came.

    Args:
        arrivals: Ascending instants.
        lines: The line of each piece.
        commit_s: How long it takes to serve a line, whatever waits in it.
        piece_s: How much longer for each piece.

    Returns:
        Also how long was worked in all.
    """
    at, line_of, spent_s = arrivals.tolist(), lines.tolist(), piece_s.tolist()
    order: deque[int] = deque()
    waiting: dict[int, list[int]] = {}
    ends = np.zeros(len(at))
    now = worked = 0.0
    arrived = 0
    while arrived < len(at) or order:
        if not order:
            now = max(now, at[arrived])
        while arrived < len(at) and at[arrived] <= now:
            if (line := line_of[arrived]) not in waiting:
                waiting[line] = []
                order.append(line)
            waiting[line].append(arrived)
            arrived += 1
        pieces = waiting.pop(order.popleft())
        taken = commit_s + sum(spent_s[piece] for piece in pieces)
        now, worked = now + taken, worked + taken
        ends[pieces] = now
    return ends - arrivals, worked


def needs_of(fleet: Fleet, costs: Costs) -> Needs:
    """What replicas take: as many as keep each at ``replica_busy`` of a core."""
    rates = _rates(fleet)
    own = math.ceil(fleet.own_models * fleet.models)
    per_replica = fleet.replica_busy / costs.request_s
    own_replicas = int(sum(max(1, math.ceil(rate / per_replica)) for rate in rates[:own]))
    pooled = rates[own:]
    pool_replicas = max(1, math.ceil(float(pooled.sum()) / per_replica)) if pooled.size else 0
    cores = fleet.requests_per_s * costs.request_s / fleet.replica_busy
    memory = (own_replicas + pool_replicas) * costs.process_bytes
    memory += (pooled.size * max(pool_replicas, 1) + own_replicas) * costs.pooled_model_bytes
    return Needs(own_replicas, pool_replicas, cores, memory)


def simulate(fleet: Fleet, costs: Costs, seconds: float = 120.0, seed: int = 0) -> list[Station]:
    """The processes that there is one of, over the minutes in which windows end."""
    chance = np.random.default_rng(seed)
    metadata = [*_polls(fleet, costs, seconds, chance), *_writes(fleet, costs, seconds, chance)]
    return [
        _monitor(fleet, costs, seconds, chance),
        _station("metadata", metadata, seconds),
        _station("controller", list(_turns(fleet, costs, seconds)), seconds),
    ]


def wall_of(fleet: Fleet, costs: Costs) -> Wall:
    """How often the fleet can be had, its requests and its models alike, until a process is full."""

    def full(times: float) -> str:
        grown = replace(
            fleet,
            models=max(1, round(fleet.models * times)),
            requests_per_s=fleet.requests_per_s * times,
            runs_per_day=fleet.runs_per_day * times,
        )
        return next((station.name for station in simulate(grown, costs) if station.full), "")

    high = 1 / _MOST_TIMES
    while not full(high):  # from below: a fleet that is far too large takes long to simulate
        if high >= _MOST_TIMES:
            return Wall("none", high)
        high *= 2
    low = high / 2
    while high / low > 1.1:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if full(middle) else (middle, high)
    return Wall(full(high), low)


def _rates(fleet: Fleet) -> Floats:
    """Requests a second of each model, the busiest first."""
    shares = 1 / np.arange(1, fleet.models + 1)
    rates: Floats = fleet.requests_per_s * shares / shares.sum()
    return rates


def _polls(fleet: Fleet, costs: Costs, seconds: float, chance: np.random.Generator) -> Iterator[_Work]:
    needs = needs_of(fleet, costs)
    for phase in chance.uniform(0, fleet.poll_every_s, needs.own_replicas + needs.pool_replicas):
        at = np.arange(phase, seconds, fleet.poll_every_s)
        yield _Work(at, np.full(at.size, fleet.questions_per_poll * costs.metadata_read_s))


def _writes(fleet: Fleet, costs: Costs, seconds: float, chance: np.random.Generator) -> Iterator[_Work]:
    at, share = _window_ends(fleet, seconds, chance)
    yield _Work(at, np.full(at.size, fleet.writes_per_window * costs.metadata_write_s), share)
    count = chance.poisson(fleet.runs_per_day * fleet.writes_per_run * seconds / 86_400)
    yield _Work(np.sort(chance.uniform(0, seconds, count)), np.full(count, costs.metadata_write_s))


def _monitor(fleet: Fleet, costs: Costs, seconds: float, chance: np.random.Generator) -> Station:
    """Events of endpoints, each of which sends what waits for ``flush_every_s``, or ``flush_rows`` rows at once.

    Closing windows takes its share of the process; commits take longer by that.
    """
    own = math.ceil(fleet.own_models * fleet.models)
    needs = needs_of(fleet, costs)
    per_replica = fleet.replica_busy / costs.request_s
    closing = fleet.requests_per_s * fleet.rows_per_request * costs.profile_row_s
    if closing >= _MOST_BUSY:
        return Station("monitor", closing, math.inf, math.inf, full=True)
    arrivals, lines, pieces = [], [], []
    for place, rate in enumerate(_rates(fleet)):
        replicas = max(1, math.ceil(rate / per_replica)) if place < own else needs.pool_replicas
        each = rate / replicas
        # a batch begins with a row, so the mean gap between two is the wait and the gap before that row
        batches_per_s = max(each / (1 + each * fleet.flush_every_s), each * fleet.rows_per_request / fleet.flush_rows)
        count = chance.poisson(batches_per_s * replicas * seconds)
        arrivals.append(chance.uniform(0, seconds, count))
        lines.append(np.full(count, place))
        pieces.append(np.full(count, each * fleet.rows_per_request / batches_per_s * costs.event_row_s))
    at = np.concatenate(arrivals)
    order = np.argsort(at, kind="stable")
    stretch = 1 / (1 - closing)
    piece_s = np.concatenate(pieces)[order] * stretch
    delays, worked = shared(at[order], np.concatenate(lines)[order], costs.event_batch_s * stretch, piece_s)
    late = delays[len(delays) // 2 :]  # once what began with an empty line has settled
    p99 = float(np.percentile(late, 99)) if late.size else 0.0
    busy = min(worked * (1 - closing) / seconds + closing, 1.0)
    return Station("monitor", busy, p99, float(late.max(initial=0.0)), full=p99 > LATEST_S)


def _window_ends(fleet: Fleet, seconds: float, chance: np.random.Generator) -> tuple[Floats, float]:
    """When windows of models end, and the share of all minutes in which that is so."""
    if fleet.windows_in_step:
        return np.zeros(fleet.models), seconds / fleet.window_s
    count = chance.poisson(fleet.models * seconds / fleet.window_s)
    return np.sort(chance.uniform(0, seconds, count)), 1.0


def _turns(fleet: Fleet, costs: Costs, seconds: float) -> Iterator[_Work]:
    at = np.arange(0, seconds, CONTROLLER_EVERY_S)
    yield _Work(at, np.full(at.size, fleet.models * costs.turn_s))


def _station(name: str, pieces: list[_Work], seconds: float) -> Station:
    arrivals = np.concatenate([work.at for work in pieces])
    services = np.concatenate([work.services for work in pieces])
    order = np.argsort(arrivals, kind="stable")
    waits = fifo(arrivals[order], services[order])
    busy = sum(float(work.services.sum()) * work.share for work in pieces) / seconds
    p99 = float(np.percentile(waits, 99)) if waits.size else 0.0
    return Station(name, busy, p99, float(waits.max(initial=0.0)), full=busy >= _MOST_BUSY)
