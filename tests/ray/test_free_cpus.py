"""Who holds the CPUs, as messages tell it; no cluster is asked."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.util import state
from ray.util.state.exception import ServerUnavailable

from raymlops.errors import UnavailableError
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


def test_cpus_that_do_not_get_free_are_told_of_while_the_dashboard_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**asked: Any) -> None:
        raise ServerUnavailable("no dashboard")

    monkeypatch.setattr(ray, "available_resources", dict)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:1"))
    monkeypatch.setattr(state, "list_actors", away)
    with pytest.raises(UnavailableError, match="0 of 2 are free; who holds the others is not known"):
        free_cpus.await_free_cpus(1.0, 0.0)
