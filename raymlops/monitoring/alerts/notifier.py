"""Sends what lies in the outbox: each endpoint at its own pace, per model in order, until it is delivered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import aiohttp

from raymlops.clock import Clock
from raymlops.config.alerts import AlertsConfig
from raymlops.errors import RaymlopsError
from raymlops.monitoring.alerts.alert_follower import AlertFollower
from raymlops.monitoring.alerts.webhooks import Answer, Endpoint, after_answer
from raymlops.records.people.alerts import AlertStore, Delivery

__all__ = ["Notifier"]

_log = logging.getLogger(__name__)

_THREADS_PER_ENDPOINT = 8


class Notifier:
    """Looks for alerts and sends them. Belongs to one event loop, which it never blocks.

    A delivery is noted after the answer has come: a process that is killed between the two sends the request again,
    with the same ``Idempotency-Key``. Redirects are not followed.

    Args:
        follower: Fills the outbox.
        alerts: The outbox.
        endpoints: The receivers of alerts.
        clock: The wall clock: pauses are real time, also where the platform replays a year.
        config: Deadlines, pauses and limits.
        draw: Source of jitter.
    """

    def __init__(
        self,
        follower: AlertFollower,
        alerts: AlertStore,
        endpoints: Sequence[Endpoint],
        clock: Clock,
        config: AlertsConfig,
        draw: random.Random | None = None,
    ) -> None:
        self._follower = follower
        self._alerts = alerts
        self._endpoints = tuple(endpoints)
        self._clock = clock
        self._config = config
        self._draw = draw or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._news = {endpoint.name: asyncio.Event() for endpoint in self._endpoints}

    async def run(self) -> None:
        """Follow and send until cancelled."""
        # a name that does not resolve holds a thread: one endpoint must leave some for the others and the outbox
        threads = ThreadPoolExecutor(_THREADS_PER_ENDPOINT * (len(self._endpoints) + 1), "notifier")
        asyncio.get_running_loop().set_default_executor(threads)
        async with self._session() as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            for endpoint in self._endpoints:
                tasks.create_task(self._serve(endpoint, session))

    async def drain(self) -> datetime | None:
        """Follow once, and send everything that is due now.

        Returns:
            When the next request is due; ``None`` where nothing is left to send.

        Raises:
            StorageError: The outbox fails.
            UnavailableError: Likewise.
        """
        await asyncio.to_thread(self._follower.step)
        async with self._session() as session:
            found = await asyncio.gather(*(self._send_due(endpoint, session) for endpoint in self._endpoints))
        return min((due for due in found if due is not None), default=None)

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=self._config.timeout.total_seconds())
        return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def _follow(self) -> None:
        while True:
            added = await self._held_up("alerts could not be looked for", self._follower.step)
            if added:
                for news in self._news.values():
                    news.set()
            await asyncio.sleep(self._config.every.total_seconds())

    async def _serve(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        news = self._news[endpoint.name]
        while True:
            news.clear()
            pause = self._config.every
            try:
                due = await self._send_due(endpoint, session)
                if due is not None:
                    pause = min(pause, max(due - self._clock.now(), timedelta()))
            except Exception as error:  # whatever it is: the other endpoints must go on
                # an error of ours by its text, any other by its kind alone: it may hold the address
                what = str(error) if isinstance(error, RaymlopsError) else type(error).__name__
                _log.warning("webhook %s is held up: %s", endpoint.name, what)
            # not wait_for, which before Python 3.12 loses a cancellation that comes as the time is over
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await news.wait()

    async def _send_due(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> datetime | None:
        """Send what is due, per model in order; returns when the next one is, if any is left."""
        while True:
            pending = await asyncio.to_thread(self._alerts.pending_deliveries, endpoint.name)
            due = [delivery for delivery in pending if delivery.due_at <= self._clock.now()]
            if not due:
                return min((delivery.due_at for delivery in pending), default=None)
            for delivery in due:
                answer = await self._post(endpoint, delivery, session)
                after = after_answer(delivery, answer, self._clock.now(), self._config, self._draw)
                await asyncio.to_thread(self._alerts.put_delivery, after)
                if after.state == "given_up":
                    _log.error(
                        "alert %s is given up for webhook %s after %d requests: %s",
                        delivery.alert.key,
                        endpoint.name,
                        after.attempts,
                        after.problem,
                    )

    async def _post(self, endpoint: Endpoint, delivery: Delivery, session: aiohttp.ClientSession) -> Answer:
        body, headers = endpoint.request(delivery.alert, self._clock.now())
        try:
            async with (
                asyncio.timeout(self._config.timeout.total_seconds()),
                session.post(endpoint.url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return Answer(response.status, retry_after=response.headers.get("Retry-After", ""))
        except TimeoutError:
            return Answer(problem=f"no answer within {self._config.timeout.total_seconds():g} s")
        except (aiohttp.ClientError, OSError) as error:
            # by its kind alone: the text of these errors may hold the address
            return Answer(problem=f"no answer: {type(error).__name__}")

    async def _held_up(self, what: str, call: Callable[[], int]) -> int:
        try:
            return await asyncio.to_thread(call)
        except Exception as error:  # whatever the error is: the outbox must still be sent
            unforeseen = not isinstance(error, RaymlopsError)
            _log.warning("%s, and will be again: %s", what, error, exc_info=unforeseen)
            return 0
