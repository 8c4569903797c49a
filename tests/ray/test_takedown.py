"""What does not go when the platform is taken off a cluster of somebody else."""

from __future__ import annotations

import threading

import pytest
from ray import serve

from raymlops.errors import UnavailableError
from raymlops.runtime import takedown
from raymlops.runtime.supervision.home_note import ClusterNote


def test_an_application_that_does_not_go_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(takedown, "applications", lambda: ["model-churn", "of somebody else"])
    monkeypatch.setattr(takedown, "_CALL_S", 0.05)
    monkeypatch.setattr(serve, "delete", lambda name: ended.wait(60))
    try:
        with pytest.raises(UnavailableError, match=r"^to delete model-churn took longer than 0\.1 s$"):
            takedown._take_off(ClusterNote("", "127.0.0.1:1", None, 1, "2.60.0", "3.11"))
    finally:
        ended.set()
