"""Replicas that do not hand over their events in time: whoever stops the platform is told so, and goes on."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from ray import serve

from raymlops.runtime.serve import draining


@pytest.mark.parametrize("late", ["the call into Serve", "the thread that waits for it"])
def test_a_replica_that_is_late_is_told_of(monkeypatch: pytest.MonkeyPatch, late: str) -> None:
    ended = threading.Event()

    def results(*, timeout_s: float) -> list[int]:
        if late == "the thread that waits for it":
            ended.wait(60)
        raise TimeoutError("Timed out waiting for broadcast results.")

    called = SimpleNamespace(broadcast=lambda method: SimpleNamespace(results=results))
    monkeypatch.setattr(serve, "get_app_handle", lambda name: called)
    monkeypatch.setattr(draining, "applications", lambda: ["gateway", "model-churn"])
    monkeypatch.setattr(draining, "_DRAIN_S", 0.1)
    try:
        told = draining.trouble_of_drain()
    finally:
        ended.set()
    assert told == "some replicas did not hand over their events: replicas were not drained within 0.1 s"
