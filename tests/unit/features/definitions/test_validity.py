from __future__ import annotations

from datetime import timedelta

import numpy as np

from raymlops.features.definitions.validity import NO_TTL_US, is_valid, span_us


def test_both_ends_are_included() -> None:
    ages = [-1, 0, 9, 10, 11]
    assert [bool(is_valid(100 - age, 100, 10)) for age in ages] == [False, True, True, True, False]
    assert is_valid(100 - np.array(ages), np.full(5, 100), 10).tolist() == [False, True, True, True, False]


def test_without_a_ttl_nothing_is_too_old() -> None:
    assert span_us(None) == NO_TTL_US
    assert is_valid(np.array([-(2**57)]), np.array([2**58]), NO_TTL_US).tolist() == [True]
    assert span_us(timedelta(hours=1, microseconds=1)) == 3_600_000_001
