"""The simulation of a fleet: queues obey their laws, and walls move as their causes do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sizing.simulation import Costs, Fleet, Station, fifo, needs_of, shared, simulate, wall_of

COSTS = Costs(
    request_s=0.5e-3,
    event_batch_s=2e-3,
    event_row_s=10e-6,
    metadata_read_s=0.2e-3,
    metadata_write_s=1e-3,
    profile_row_s=1e-6,
    turn_s=0.1e-3,
    pooled_model_bytes=1e6,
    process_bytes=250e6,
)
SMALL = Fleet(models=100, requests_per_s=200.0)
TINY = Fleet(models=10, requests_per_s=20.0)


def station(name: str, fleet: Fleet, costs: Costs = COSTS) -> Station:
    return next(one for one in simulate(fleet, costs) if one.name == name)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), min_size=1, max_size=40))
def test_a_queue_serves_one_at_a_time_in_the_order_of_arrival(given_work: list[tuple[float, float]]) -> None:
    arrivals = np.cumsum([gap for gap, _ in given_work])
    services = np.array([service for _, service in given_work])
    free, waits = 0.0, []
    for at, service in zip(arrivals, services, strict=True):
        begins = max(at, free)
        waits.append(begins - at)
        free = begins + service
    assert fifo(arrivals, services) == pytest.approx(np.array(waits), abs=1e-9)


def test_the_mean_wait_is_that_of_the_law_of_pollaczek_and_khinchin() -> None:
    chance, count, service, rate = np.random.default_rng(0), 200_000, 1.0, 0.7
    arrivals = np.cumsum(chance.exponential(1 / rate, count))
    waits = fifo(arrivals, np.full(count, service))
    assert waits.mean() == pytest.approx(rate * service**2 / (2 * (1 - rate * service)), rel=0.05)


def test_what_waits_in_one_line_is_served_together() -> None:
    arrivals = np.array([0.0, 0.1, 0.2, 0.3, 5.0])
    delays, worked = shared(arrivals, np.array([0, 1, 0, 1, 0]), 1.0, np.full(5, 0.1))
    # line 0 is served from 0, then both pieces of line 1 from 1.1, then the second of line 0 from 2.3
    assert delays == pytest.approx(np.array([1.1, 2.2, 3.2, 2.0, 1.1]))
    assert worked == pytest.approx(4.5)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), min_size=1, max_size=40))
def test_lines_of_one_piece_each_are_a_queue(given_work: list[tuple[float, float]]) -> None:
    arrivals = np.cumsum([gap for gap, _ in given_work])
    services = np.array([service for _, service in given_work])
    delays, _ = shared(arrivals, np.arange(len(arrivals)), 0.5, services)
    assert delays == pytest.approx(fifo(arrivals, services + 0.5) + services + 0.5, abs=1e-9)


def test_a_monitor_that_is_full_of_commits_acknowledges_once_a_round_of_all_models() -> None:
    costs = replace(COSTS, event_batch_s=80e-3, event_row_s=0.0, profile_row_s=0.0)
    crowd = Fleet(models=100, requests_per_s=4000.0)
    found = station("monitor", crowd, costs)
    assert found.busy == 1.0
    assert found.longest_wait_s == pytest.approx(100 * 80e-3, rel=0.1)


def test_work_grows_with_what_it_is_made_of() -> None:
    base = {name: station(name, SMALL).busy for name in ("metadata", "monitor", "controller")}
    assert station("controller", replace(SMALL, models=200)).busy == pytest.approx(2 * base["controller"])
    assert station("monitor", replace(SMALL, requests_per_s=2000.0)).busy > base["monitor"]
    assert station("monitor", replace(SMALL, flush_every_s=5.0)).busy < base["monitor"] / 2
    own = replace(SMALL, own_models=1.0)
    assert station("metadata", own).busy > 10 * base["metadata"]
    assert station("metadata", replace(own, poll_every_s=10.0)).busy < station("metadata", own).busy / 5
    heavy = replace(SMALL, requests_per_s=900_000.0)
    assert station("monitor", heavy).full  # the rows of its windows alone fill the monitor


def test_windows_that_end_together_wait_for_each_other_and_take_no_more_work() -> None:
    slow = replace(COSTS, metadata_write_s=50e-3)
    apart = replace(SMALL, windows_in_step=False, window_s=600.0)
    together = replace(apart, windows_in_step=True)
    assert station("metadata", together, slow).busy == pytest.approx(station("metadata", apart, slow).busy, rel=0.3)
    assert station("metadata", together, slow).longest_wait_s > 0.9 * 100 * 3 * 50e-3
    assert station("metadata", apart, slow).longest_wait_s < 0.2 * 100 * 3 * 50e-3


def test_replicas_are_counted_by_the_requests_that_they_can_take() -> None:
    pooled = needs_of(replace(SMALL, requests_per_s=5000.0), COSTS)
    assert (pooled.own_replicas, pooled.pool_replicas) == (0, 5)
    assert pooled.cores == pytest.approx(5.0)
    own = needs_of(replace(SMALL, own_models=1.0), COSTS)
    assert (own.own_replicas, own.pool_replicas) == (100, 0)
    assert own.memory_bytes == pytest.approx(100 * 251e6)


def test_the_wall_is_where_a_process_is_full_first_and_moves_with_its_cost() -> None:
    costs = replace(COSTS, event_batch_s=40e-3)
    wall = wall_of(TINY, costs)
    assert wall.station == "monitor"
    grown = replace(TINY, models=round(10 * wall.times), requests_per_s=20 * wall.times)
    assert not any(one.full for one in simulate(grown, costs))
    assert wall_of(TINY, replace(costs, event_batch_s=20e-3)).times > 1.5 * wall.times
    slow_turns = wall_of(TINY, replace(costs, turn_s=50e-3))
    assert slow_turns.station == "controller"
    assert slow_turns.times == pytest.approx(0.8 / (10 * 50e-3), rel=0.15)
    free = replace(costs, event_batch_s=0.0, event_row_s=0.0, profile_row_s=0.0, turn_s=0.0, metadata_read_s=0.0)
    assert wall_of(TINY, replace(free, metadata_write_s=0.0)) == ("none", 64.0)
