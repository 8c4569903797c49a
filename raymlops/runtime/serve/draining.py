"""The end of answering, before a planned stop: replicas hand over their prediction events."""

from __future__ import annotations

import time
from concurrent.futures import wait as wait_for
from functools import partial

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.runtime.cluster.deadlines import begin, within

__all__ = ["applications", "drain", "trouble_of_drain"]

_DRAIN_S = 20.0
"""How long all replicas together may take to hand over their prediction events."""


def trouble_of_drain() -> str | None:
    """Have every replica drained; returns what kept some from handing over all their events, in a sentence."""
    try:
        waiting = drain(_DRAIN_S)
    except (RaymlopsError, RayError, RayServeException) as error:
        return f"some replicas did not hand over their events: {error}"
    return f"{waiting} rows of prediction events were not handed over in time" if waiting else None


def drain(timeout_s: float) -> int:
    """Have every replica stop answering and hand over its prediction events.

    Returns:
        How many rows still wait.

    Raises:
        UnavailableError: A replica did not do so within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    names = within(timeout_s, "to list the applications", applications)
    left_s = max(deadline - time.monotonic(), 1.0)

    def one(name: str) -> int:
        try:
            return sum(serve.get_app_handle(name).broadcast("drain").results(timeout_s=left_s))
        except DeploymentUnavailableError:
            return 0  # it has no replica yet, or no more

    futures = [begin(f"drain-{name}", partial(one, name)) for name in names if name.startswith(("model-", "pool-"))]
    wait_for(futures, timeout=left_s)
    try:
        return sum(future.result(timeout=0) for future in futures)
    except TimeoutError as error:  # of the call into Serve, or of the thread that waits for it
        raise UnavailableError(f"replicas were not drained within {timeout_s:g} s") from error


def applications() -> list[str]:
    """The names of all applications that Serve runs."""
    return sorted(serve.status().applications)
