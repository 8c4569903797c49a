from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from raymlops.clock import ManualClock, SystemClock
from raymlops.config.alerts import AlertsConfig, WebhookConfig
from raymlops.metadata import MetadataService
from raymlops.monitoring.alerts.alert_follower import AlertFollower
from raymlops.monitoring.alerts.alert_rules import AlertRule
from raymlops.monitoring.alerts.notifier import Notifier
from raymlops.monitoring.alerts.webhooks import open_endpoint
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowRecord

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Receiver:
    """A real HTTP server that notes what it gets, and answers by a rule."""

    def __init__(self, answer: Callable[[dict[str, Any], int], int | None] = lambda body, seen: 200) -> None:
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""
        self.arrived = asyncio.Event()
        self._answer = answer

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.seen.append(body)
        self.keys.append(request.headers["Idempotency-Key"])
        self.arrived.set()
        status = self._answer(body, self.keys.count(body["key"]))
        if status is None:
            await asyncio.Event().wait()
        return web.Response(status=status or 200, headers={"Location": self.url} if status == 302 else {})


@asynccontextmanager
async def served(*receivers: Receiver) -> AsyncIterator[None]:
    runners = []
    for receiver in receivers:
        app = web.Application()
        app.router.add_post("/t0ken", receiver.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/t0ken"
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


class Outbox:
    """A metadata store with a model, and notifiers on it."""

    def __init__(self, path: Path) -> None:
        self.metadata = MetadataService(path / "metadata.db", clock=ManualClock(START))
        self.clock = ManualClock(START)
        self.put_plan("churn")
        self.windows = 0

    def put_plan(self, model: str) -> None:
        self.metadata.plans.put_plan(ServingPlan(model=model, number=1, champion=1, created_at=START))

    def happen(self, model: str, number: int, action: str = "roll_back") -> str:
        entry = self.metadata.ledger.append_entry(
            model, action, f"reason {number}", {}, key=f"{model}/{action}/{number}"
        )
        return f"{model}/{'rolled_back' if action == 'roll_back' else 'promoted'}/{entry.sequence}"

    def close_window(self, quality: str = "ok") -> None:
        start = START + self.windows * HOUR
        self.windows += 1
        record = WindowRecord(model="churn", start=start, end=start + HOUR, champion=1, rows=9, quality=quality)
        self.metadata.windows.put_window(record, b"")

    def notifier(self, *urls: str, wall: bool = False, **more: Any) -> Notifier:
        names = [{"name": f"hook{number}", "url": url} for number, url in enumerate(urls)]
        config = AlertsConfig(
            webhooks=tuple(WebhookConfig(**name, **more.pop("webhook", {})) for name in names), **more
        )
        clock = SystemClock() if wall else self.clock
        follower = AlertFollower(self.metadata, clock, config, lambda _: AlertRule(), lookback=HOUR)
        endpoints = [open_endpoint(webhook, {}) for webhook in config.webhooks]
        return Notifier(follower, self.metadata.alerts, endpoints, clock, config)

    async def drain_all(self, notifier: Notifier) -> None:
        """Until nothing is left to send, at the instants at which something is due."""
        while (due := await notifier.drain()) is not None:
            self.clock.advance_to(due)

    def states(self) -> dict[tuple[str, str], str]:
        return {(one.alert.key, one.endpoint): one.state for one in self.metadata.alerts.list_deliveries()}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path)
    yield opened
    opened.metadata.close()


@pytest.mark.asyncio
async def test_what_fails_is_sent_again_until_it_succeeds_and_then_no_more(outbox: Outbox) -> None:
    receiver = Receiver(lambda body, seen: 500 if seen <= 2 else 200)
    async with served(receiver):
        notifier = outbox.notifier(receiver.url)
        await outbox.drain_all(notifier)
        assert receiver.keys == []
        key = outbox.happen("churn", 1)
        await outbox.drain_all(notifier)
        await outbox.drain_all(outbox.notifier(receiver.url))
    assert receiver.keys == [key] * 3
    assert receiver.seen[0] == receiver.seen[2]
    (delivery,) = outbox.metadata.alerts.list_deliveries()
    assert (delivery.state, delivery.attempts, delivery.problem) == ("delivered", 3, "")


@pytest.mark.asyncio
async def test_a_condition_is_told_of_once_while_it_stands(outbox: Outbox) -> None:
    receiver = Receiver()
    async with served(receiver):
        await outbox.notifier(receiver.url).drain()
        for quality in ("ok", "block", "block", "block", "ok", "ok"):
            outbox.close_window(quality)
            await outbox.drain_all(outbox.notifier(receiver.url))
    assert [(body["cause"], body["state"]) for body in receiver.seen] == [("quality", "raised"), ("quality", "cleared")]


@pytest.mark.asyncio
async def test_an_endpoint_that_hangs_or_is_dead_holds_up_nobody_else(outbox: Outbox) -> None:
    hanging, good = Receiver(lambda body, seen: None), Receiver()
    async with served(hanging, good):
        notifier = outbox.notifier(hanging.url, "http://127.0.0.1:9/t0ken", good.url, timeout=timedelta(seconds=1))
        await notifier.drain()
        keys = [outbox.happen("churn", number) for number in range(3)]
        await notifier.drain()
    assert good.keys == keys
    assert hanging.keys == keys[:1]
    problems = {
        one.endpoint: one.problem for one in outbox.metadata.alerts.list_deliveries() if one.alert.key == keys[0]
    }
    assert problems["hook0"] == "no answer within 1 s"
    assert problems["hook1"].startswith("no answer: ClientConnector")
    assert outbox.states()[keys[0], "hook2"] == "delivered"


@pytest.mark.asyncio
async def test_a_model_keeps_its_order_and_waits_for_no_other(outbox: Outbox) -> None:
    receiver = Receiver(lambda body, seen: 503 if "reason 0" in body["summary"] and seen == 1 else 200)
    outbox.put_plan("other")
    async with served(receiver):
        notifier = outbox.notifier(receiver.url)
        await notifier.drain()
        first, second = outbox.happen("churn", 0), outbox.happen("churn", 1)
        other = [outbox.happen("other", number) for number in (2, 3)]
        await notifier.drain()
        assert receiver.keys == [first, *other]
        await outbox.drain_all(notifier)
    assert receiver.keys == [first, *other, first, second]


@pytest.mark.asyncio
async def test_what_will_not_change_is_given_up_logged_and_not_followed(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(lambda body, seen: 302 if "reason 0" in body["summary"] else 404)
    async with served(receiver):
        notifier = outbox.notifier(receiver.url)
        await notifier.drain()
        keys = [outbox.happen("churn", 0), outbox.happen("churn", 1)]
        with caplog.at_level(logging.DEBUG):
            assert await notifier.drain() is None
    assert receiver.keys == keys
    assert set(outbox.states().values()) == {"given_up"}
    assert f"alert {keys[1]} is given up for webhook hook0 after 1 requests: answered 404" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("raymlops")]
    assert ours
    assert not any("t0ken" in message for message in ours)


@pytest.mark.asyncio
@pytest.mark.parametrize(("history", "sent"), [("keep", 1), ("send", 3)])
async def test_history_is_kept_unless_it_is_asked_for(outbox: Outbox, history: str, sent: int) -> None:
    outbox.close_window("block")
    outbox.happen("churn", 0)
    receiver = Receiver()
    async with served(receiver):
        await outbox.drain_all(outbox.notifier(receiver.url, history=history))
        outbox.happen("churn", 1)
        await outbox.drain_all(outbox.notifier(receiver.url, history=history))
    assert len(receiver.keys) == sent
    assert len(outbox.metadata.alerts.list_alerts("churn")) == 3


@pytest.mark.asyncio
async def test_a_model_that_came_later_is_no_history(outbox: Outbox) -> None:
    receiver = Receiver()
    async with served(receiver):
        await outbox.notifier(receiver.url).drain()
        outbox.put_plan("new")
        record = WindowRecord(model="new", start=START, end=START + HOUR, champion=1, rows=0, quality="block")
        outbox.metadata.windows.put_window(record, b"")
        await outbox.drain_all(outbox.notifier(receiver.url))
    assert [body["model"] for body in receiver.seen] == ["new"]


@pytest.mark.asyncio
async def test_endpoints_hear_what_they_ask_for(outbox: Outbox) -> None:
    async with served(receiver := Receiver()):
        for webhook, heard in (
            ({}, []),
            ({"severities": ("info",)}, ["promoted"]),
            ({"severities": ("info",), "models": ("other",)}, []),
        ):
            receiver.seen.clear()
            notifier = outbox.notifier(receiver.url, webhook=webhook)
            await notifier.drain()
            outbox.happen("churn", len(outbox.metadata.ledger.entries()), "promote")
            await notifier.drain()
            assert [body["cause"] for body in receiver.seen] == heard


@pytest.mark.asyncio
async def test_it_runs_by_itself(outbox: Outbox) -> None:
    hanging, good = Receiver(lambda body, seen: None), Receiver()
    async with served(hanging, good):
        notifier = outbox.notifier(hanging.url, good.url, wall=True, every=timedelta(milliseconds=20), history="send")
        running = asyncio.create_task(notifier.run())
        try:
            for number in range(3):
                good.arrived.clear()
                outbox.happen("churn", number)
                await asyncio.wait_for(good.arrived.wait(), 20)
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
    assert [json.dumps(body)[:1] for body in good.seen] == ["{"] * 3
    assert len(hanging.keys) == 1


@pytest.mark.asyncio
async def test_an_outbox_that_fails_is_asked_again(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    from raymlops.errors import UnavailableError

    receiver, plan_numbers = Receiver(), outbox.metadata.plans.plan_numbers
    failures = iter([True, True])

    def failing() -> dict[str, int]:
        if next(failures, False):
            raise UnavailableError("the metadata actor is away")
        return plan_numbers()

    outbox.metadata.plans.plan_numbers = failing  # type: ignore[method-assign]
    outbox.happen("churn", 1)
    async with served(receiver):
        notifier = outbox.notifier(receiver.url, wall=True, every=timedelta(milliseconds=20), history="send")
        running = asyncio.create_task(notifier.run())
        try:
            await asyncio.wait_for(receiver.arrived.wait(), 20)
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
    assert caplog.text.count("alerts could not be looked for, and will be again: the metadata actor is away") == 2


@pytest.mark.asyncio
async def test_what_nobody_foresaw_at_one_endpoint_holds_up_no_other(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    async with served(receiver):
        notifier = outbox.notifier(receiver.url, receiver.url, wall=True, every=timedelta(milliseconds=10))
        await notifier.drain()
        post = notifier._post

        async def fail(endpoint: Any, *more: Any) -> Any:
            if endpoint.name == "hook0":
                raise KeyError(endpoint.url)
            return await post(endpoint, *more)

        monkeypatch.setattr(notifier, "_post", fail)
        running = asyncio.create_task(notifier.run())
        key = outbox.happen("churn", 1)
        async with asyncio.timeout(30):
            await receiver.arrived.wait()
            while outbox.states()[key, "hook1"] != "delivered":
                await asyncio.sleep(0.01)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
    assert "webhook hook0 is held up: KeyError" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("raymlops")]
    assert all(receiver.url not in message for message in ours)  # the address may be a secret


@pytest.mark.asyncio
async def test_an_endpoint_that_answers_byte_by_byte_is_given_its_deadline_and_no_more(outbox: Outbox) -> None:
    hung_up = asyncio.Event()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            writer.close()
            hung_up.set()

    server, good = await asyncio.start_server(trickle, "127.0.0.1", 0), Receiver()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/t0ken"
    async with served(good):
        notifier = outbox.notifier(url, good.url, timeout=timedelta(seconds=1))
        await notifier.drain()
        key = outbox.happen("churn", 1)
        await notifier.drain()
    async with asyncio.timeout(30):
        await hung_up.wait()
        server.close()
        await server.wait_closed()
    assert good.keys == [key]
    problems = {one.endpoint: one.problem for one in outbox.metadata.alerts.list_deliveries()}
    assert problems["hook0"] == "no answer within 1 s"


@pytest.mark.parametrize("ticks", range(6))
@pytest.mark.asyncio
async def test_it_ends_when_it_is_cancelled_just_as_there_is_news(outbox: Outbox, ticks: int) -> None:
    receiver = Receiver()
    async with served(receiver):
        notifier = outbox.notifier(receiver.url, wall=True, every=timedelta(seconds=60))
        running = asyncio.create_task(notifier.run())
        async with asyncio.timeout(10):
            while not notifier._news["hook0"]._waiters:  # until it rests
                await asyncio.sleep(0.001)
        notifier._news["hook0"].set()
        for _ in range(ticks):
            await asyncio.sleep(0)
        running.cancel()
        _, late = await asyncio.wait([running], timeout=5)
    assert not late
