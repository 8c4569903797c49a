from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import ConfigError, DataError
from raymlops.monitoring import ErrorStream


def bernoulli(rng: np.random.Generator, rows: int, rate: float) -> np.ndarray:
    return (rng.random(rows) < rate).astype(float)


@pytest.mark.parametrize("kind", ["rare", "usual", "half", "exponential", "lognormal"])
def test_a_steady_stream_is_silent(kind: str) -> None:
    rng = np.random.default_rng(11)
    rows = 20_000
    errors = {
        "rare": lambda: bernoulli(rng, rows, 0.02),
        "usual": lambda: bernoulli(rng, rows, 0.12),
        "half": lambda: bernoulli(rng, rows, 0.5),
        "exponential": lambda: rng.exponential(1, rows),
        "lognormal": lambda: rng.lognormal(0, 1, rows),
    }[kind]()
    assert ErrorStream().update(errors) == []


@pytest.mark.parametrize(("before", "after"), [(0.12, 0.25), (0.12, 0.87), (0.5, 0.35), (0.0, 0.1)])
def test_changes_are_found_soon(before: float, after: float) -> None:
    rng = np.random.default_rng(12)
    delays = []
    for _ in range(8):
        found = ErrorStream().update(np.concatenate([bernoulli(rng, 3000, before), bernoulli(rng, 1500, after)]))
        assert found
        assert found[0] >= 3000
        delays.append(found[0] - 3000)
    assert np.quantile(delays, 0.9) <= 1000


def test_each_of_several_changes_is_found() -> None:
    rng = np.random.default_rng(13)
    rates = (0.1, 0.5, 0.1, 0.9)
    found = ErrorStream().update(np.concatenate([bernoulli(rng, 5000, rate) for rate in rates]))
    assert {position // 5000 for position in found} == {1, 2, 3}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12))
def test_the_cut_into_updates_does_not_matter(cuts: list[int]) -> None:
    rng = np.random.default_rng(14)
    errors = np.concatenate([bernoulli(rng, 700, 0.1), bernoulli(rng, 700, 0.6)])
    stream, found, at = ErrorStream(), [], 0
    for cut in [*cuts, errors.size]:
        found += stream.update(errors[at : at + cut].tolist())
        at = min(errors.size, at + cut)
    assert found == ErrorStream().update(errors)
    assert stream.rows == errors.size


def test_memory_grows_slowly() -> None:
    stream = ErrorStream()
    stream.update(bernoulli(np.random.default_rng(15), 50_000, 0.1))
    assert sum(len(level) for level in stream._levels) < 100
    assert stream.mean == pytest.approx(0.1, abs=0.01)


def test_constant_and_short_streams_are_silent() -> None:
    assert ErrorStream().update([0] * 5000) == []
    stream = ErrorStream()
    assert stream.update([1, 0, 1]) == []
    assert math.isnan(stream.mean)
    assert stream.rows == 3


def test_wrong_values_are_refused_whole() -> None:
    stream = ErrorStream()
    with pytest.raises(DataError, match="finite, got nan"):
        stream.update([0.0, math.nan])
    assert stream.rows == 0
    with pytest.raises(ConfigError, match="stride must be positive, got 0"):
        ErrorStream(stride=0)
