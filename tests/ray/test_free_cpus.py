"""Who holds the CPUs, as messages tell it; no cluster is asked."""

from __future__ import annotations

from collections import Counter

import pytest
import ray

from raymlops.runtime.cluster import free_cpus

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("free", "held", "told"),
    [
        (0.2, {"Replica": 0.1, "Trial": 0.7}, "held by Replica: 0.1, Trial: 0.7"),
        (0.5, {"Replica": 0.1}, "held by Replica: 0.1, what is starting or ending: 0.4"),
        (1.0, {}, "held by nobody any more"),
    ],
)
def test_cpus_that_nobody_holds_are_not_made_of_rounding(
    free: float, held: dict[str, float], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": free})
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    monkeypatch.setattr(free_cpus, "_holders", lambda: Counter(held))
    assert free_cpus.describe_cpus() == f"{free:g} of 1 are free; {told}"
