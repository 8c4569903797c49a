from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.control.rollout.measuring.row_losses import given_to, log_losses


def test_the_probability_given_to_each_label() -> None:
    labels = pa.chunked_array([["a", "2", "no class"], [None, "2.0"]])
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6], [0.2, 0.2, 0.6], [0.0, 0.9, 0.1]])
    found = given_to(labels, probability, ["a", 2, "c"])
    assert found[:3].tolist() == [0.7, 0.3, 0.0]
    assert np.isnan(found[3])


def test_an_answer_that_ruled_out_what_came_true_is_bounded() -> None:
    found = log_losses(np.array([1.0, 0.5, 0.0, np.nan]))
    assert found[:3] == pytest.approx([1e-6, np.log(2), -np.log(1e-6)], abs=1e-6)
    assert np.isnan(found[3])
