"""Who holds CPUs, where the cluster cannot be asked: the error that was about to be told is told all the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.util import state
from ray.util.state.exception import ServerUnavailable

from raymlops.errors import UnavailableError
from raymlops.runtime.cluster import free_cpus


def test_cpus_that_do_not_get_free_are_told_of_while_the_dashboard_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**asked: Any) -> None:
        raise ServerUnavailable("no dashboard")

    monkeypatch.setattr(ray, "available_resources", dict)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:1"))
    monkeypatch.setattr(state, "list_actors", away)
    with pytest.raises(UnavailableError, match="0 of 2 are free; who holds the others is not known"):
        free_cpus.await_free_cpus(1.0, 0.0)
