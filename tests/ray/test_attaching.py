"""A cluster of somebody else that does not answer while a process attaches."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray.exceptions import GetTimeoutError

from raymlops.errors import UnavailableError
from raymlops.runtime import session


def test_a_cluster_that_runs_no_task_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*asked: Any, **options: Any) -> None:
        raise GetTimeoutError("Get timed out")

    monkeypatch.setattr(ray, "remote", lambda **options: lambda work: type("Task", (), {"remote": staticmethod(str)}))
    monkeypatch.setattr(ray, "get", late)
    with pytest.raises(UnavailableError, match=r"^the cluster ran no task: Get timed out$"):
        session._settings_there()
