"""Sends OpenLineage events from a thread of its own, so that no call waits for a transport."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from raymlops.errors import RaymlopsError
from raymlops.metadata.openlineage.transports import Transport

__all__ = ["Emitter"]

_log = logging.getLogger(__name__)

Event = dict[str, Any]


class Emitter:
    """A thread that builds events and hands them to transports, in order. Thread-safe.

    Nothing it does fails or holds up the caller: where the queue is full, where an event cannot be built or a transport
    does not take it, the event is dropped, counted and logged. Events that wait when the process is killed are lost:
    the store has all that they say.

    Args:
        transports: Each is given every event; without one nothing is built, and no thread runs.
        capacity: Events that may wait.
    """

    def __init__(self, transports: Sequence[Transport], *, capacity: int = 10_000) -> None:
        self._transports = list(transports)
        self._queue: queue.Queue[Callable[[], Event | None] | None] = queue.Queue(capacity)
        self._lock = threading.Lock()
        self._sent = self._dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="openlineage", daemon=True)
        if self._transports:
            self._thread.start()

    @property
    def sent(self) -> int:
        """Number of events that every transport took."""
        return self._sent

    @property
    def dropped(self) -> int:
        """Number of events that some transport did not take."""
        return self._dropped

    def emit(self, build: Callable[[], Event | None]) -> None:
        """Queue a function that builds an event; if it gives ``None``, nothing is sent. Returns at once.

        Args:
            build: Called in the emitter's thread.
        """
        if not self._transports:
            return
        if self._closed:
            self._drop("nothing is sent any more")
            return
        try:
            self._queue.put_nowait(build)
        except queue.Full:
            self._drop("too many events wait")

    def close(self, timeout_s: float = 5.0) -> bool:
        """Send the queued events until the deadline, then drop the rest; an event that is being sent is not dropped.

        Returns:
            Whether nothing is left.
        """
        if not self._transports:
            return True
        self._closed = True
        deadline = time.monotonic() + timeout_s
        with suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        if not self._thread.is_alive():
            return True
        with suppress(queue.Empty):
            while True:
                if self._queue.get_nowait() is not None:
                    self._drop("there was no time left to send it")
        self._queue.put(None)
        return False

    def _work(self) -> None:
        while (build := self._queue.get()) is not None:
            try:
                event = build()
                if event is None:
                    continue
                for transport in self._transports:
                    transport.send(event)
                self._sent += 1
            except RaymlopsError as error:
                self._drop(str(error))
            except Exception as error:
                # a fault here must not end the emitter of all later runs
                _log.exception("an OpenLineage event could not be made")
                self._drop(repr(error))

    def _drop(self, why: str) -> None:
        with self._lock:
            self._dropped += 1
        _log.warning("an OpenLineage event was dropped, %d so far: %s", self._dropped, why)
