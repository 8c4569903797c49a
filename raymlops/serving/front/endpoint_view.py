"""The statuses of endpoints, as the gateway knows them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.records.serving.endpoints import EndpointStatus

__all__ = ["EndpointView", "StatusSource"]

_FRESH_S = 0.5
_KEEP_S = 60.0
"""The last statuses are shown for so long while the reconciler is away: endpoints answer without it."""
_DEADLINE_S = 3.0


class StatusSource(Protocol):
    """Gives the statuses of endpoints; the reconciler is one."""

    async def statuses(self) -> Sequence[EndpointStatus]:
        """How each planned endpoint was at the last look."""
        ...


class EndpointView:
    """The statuses of endpoints, asked for at most twice a second. Belongs to one event loop.

    Args:
        source: Asked for them.
        time_s: Monotonic seconds.
    """

    def __init__(self, source: StatusSource, time_s: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._time_s = time_s
        self._told: dict[str, EndpointStatus] = {}
        self._told_at_s = self._asked_at_s = float("-inf")
        self._failure = ""
        self._lock = asyncio.Lock()

    async def statuses(self) -> Mapping[str, EndpointStatus]:
        """Model -> its status.

        Raises:
            UnavailableError: Nobody has looked for too long.
        """
        async with self._lock:
            if self._time_s() - self._asked_at_s > _FRESH_S:
                try:
                    async with asyncio.timeout(_DEADLINE_S):
                        told = await self._source.statuses()
                    self._told = {status.model: status for status in told}
                    self._told_at_s = self._time_s()
                except (RaymlopsError, TimeoutError) as error:
                    self._failure = str(error) or f"no answer within {_DEADLINE_S:g} s"
                # also after a failure: the callers that wait for the lock must not ask again, one after the other
                self._asked_at_s = self._time_s()
            if self._time_s() - self._told_at_s > _KEEP_S:
                raise UnavailableError(f"whether endpoints answer is not known: {self._failure}")
            return self._told
