"""A metrics page in parts: each comes from an actor of its own, and one that does not answer hides no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field

from raymlops.errors import RaymlopsError
from raymlops.runtime.actors.metrics_server import page_of_families
from raymlops.runtime.cluster.deadlines import begin
from raymlops.serving.answering.metrics import Family, Sample

__all__ = ["Part", "PartedPage"]

_log = logging.getLogger(__name__)


@dataclass
class Part:
    """One part of the page.

    Attributes:
        name: The value of the label ``part``.
        render: Makes the part, in a thread of its own.
        every_s: A part that is younger is shown again instead of made anew.
    """

    name: str
    render: Callable[[], str]
    every_s: float = 0.0
    made: str = field(default="", init=False)
    made_at_s: float | None = field(default=None, init=False)
    took_s: float = field(default=0.0, init=False)
    under_way: Future[str] | None = field(default=None, init=False)


class PartedPage:
    """The page; asks all parts side by side, and leaves out those that fail or miss the deadline. Thread-safe.

    A part that misses the deadline goes on: the next scrape waits for the same call, so that no two calls of a part are
    under way at once.

    Args:
        parts: In the order of the page; no two have a metric in common.
        timeout_s: Deadline of one scrape.
    """

    def __init__(self, parts: Sequence[Part], timeout_s: float) -> None:
        self._parts = parts
        self._timeout_s = timeout_s
        self._lock = threading.Lock()

    def render(self) -> str:
        """The page, with ``raymlops_scrape_up`` and ``raymlops_scrape_seconds`` for each part."""
        ends_s = time.monotonic() + self._timeout_s
        begun = [(part, self._begin(part)) for part in self._parts]
        pages, up, took = [], [], []
        for part, future in begun:
            text = part.made if future is None else self._ended(part, future, ends_s)
            pages.append(text or "")
            up.append(Sample("", {"part": part.name}, float(text is not None)))
            took.append(Sample("", {"part": part.name}, part.took_s))
        families = [
            Family("up", "gauge", "1 where the part of the page is there, 0 where its actor did not answer.", up),
            Family("seconds", "gauge", "What the newest reading of the part took.", took),
        ]
        pages.append(page_of_families("raymlops_scrape", [({}, family) for family in families]))
        return "".join(pages)

    def _begin(self, part: Part) -> Future[str] | None:
        """The call that makes a part; ``None`` where what was made last is young enough."""
        with self._lock:
            young = part.made_at_s is not None and time.monotonic() - part.made_at_s < part.every_s
            if part.under_way is None and not young:
                part.under_way = begin(f"metrics of {part.name}", lambda: _timed(part))
            return part.under_way

    def _ended(self, part: Part, future: Future[str], ends_s: float) -> str | None:
        try:
            text = future.result(max(ends_s - time.monotonic(), 0.0))
        except FutureTimeout as error:
            if not future.done():
                _log.warning("the metrics of %s did not come within %g s", part.name, self._timeout_s)
                return None
            _log.warning("the metrics of %s could not be read: %s", part.name, error)
            text = None
        except Exception as error:
            unforeseen = not isinstance(error, RaymlopsError)
            _log.warning("the metrics of %s could not be read: %s", part.name, error, exc_info=unforeseen)
            text = None
        with self._lock:
            if part.under_way is future:
                part.under_way = None
                if text is not None:
                    part.made, part.made_at_s = text, time.monotonic()
        return text


def _timed(part: Part) -> str:
    started_s = time.monotonic()
    try:
        return part.render()
    finally:
        part.took_s = time.monotonic() - started_s
