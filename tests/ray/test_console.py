"""The console of a running platform in a real browser, with JavaScript and without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import requests

from raymlops.features import Entity, FeatureService, FeatureView, Field
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus
from raymlops.records.windows import ColumnDrift, Performance, WindowRecord

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from raymlops.platform import Platform

# slow: pages are tried without a browser in tests/unit/console, and orders with one in test_console_actions.py
pytestmark = [pytest.mark.ray, pytest.mark.slow]

MODEL, EVIL = "watched", """<script>alert("x")</script>'"><img src=x onerror=alert(1)>"""
DEADLINE_S = 60.0


@dataclass(frozen=True)
class World:
    """A platform with a little life on it."""

    url: str
    request_id: str
    run_id: str

    @property
    def pages(self) -> dict[str, str]:
        """Name -> address below the console's own."""
        return {
            "loop": "",
            "models": "/models",
            "model": f"/models/{MODEL}",
            "version": f"/models/{MODEL}/1",
            "monitoring": "/monitoring",
            "report": f"/monitoring/{MODEL}",
            "features": "/features",
            "found": "/features?text=spending",
            "feature": "/features/console_spending@1",
            "runs": "/runs",
            "run": f"/runs/{self.run_id}",
            "lineage": f"/lineage/model/{MODEL}@1",
            "of a feature": "/lineage/feature/console_spending",
            "of a request": f"/lineage/request/{self.request_id}?model={MODEL}",
            "delivery": "/delivery",
            "ledger": "/ledger",
            "checked": "/ledger/verify",
            "policy": f"/policy/{MODEL}",
            "system": "/system",
        }


@pytest.fixture(scope="module")
def world(platform: Platform) -> Iterator[World]:
    from sklearn.linear_model import LinearRegression

    now = platform.clock.now()
    user = Entity("console_user", ["user_id"])
    view = FeatureView(
        "console_spending", user, [Field("mean", "float64"), Field("city", "string")], owner=EVIL, description=EVIL
    )
    service = FeatureService("console_churn", ["console_spending:mean"])
    platform.apply(user, view, service)
    rows = {"user_id": ["ada", "bob"], "event_time": [now, now], "mean": [1.0, 2.0], "city": [EVIL, "Oslo"]}
    platform.features.push("console_spending", pa.table(rows))
    inputs = np.arange(10.0)[:, None]
    example = pa.table({"console_spending__mean": [0.5, 1.5]})
    version = platform.models.register(MODEL, LinearRegression().fit(inputs, inputs[:, 0]), example=example)
    platform.endpoints.deploy(MODEL, version.version, features="console_churn", reason=EVIL)
    sent = {"instances": [{"user_id": "ada"}]}
    answer = requests.post(f"{platform.url}/v2/models/{MODEL}/predict", json=sent, timeout=DEADLINE_S)
    assert answer.status_code == 200, answer.text
    platform.endpoints.flush(MODEL)
    run_id = _records(platform)
    yield World(f"{platform.url}/console", answer.json()["id"], run_id)
    platform.endpoints.undeploy(MODEL)


def _records(platform: Platform) -> str:
    """Windows, and a run that ended: what takes days, or a bundle, to come by."""
    now, metadata = platform.clock.now(), platform.metadata
    for day in range(5):
        start = now - timedelta(days=6 - day)
        drift = ColumnDrift(score=0.02 * day, threshold=0.05, p_value=0.1, drifted=day > 2, importance=1.0)
        performance = Performance(rows=50, labelled_rows=40, metrics={"mae": 0.1 + day / 100})
        window = WindowRecord(
            model=MODEL,
            start=start,
            end=start + timedelta(days=1),
            champion=1,
            rows=50 if day < 4 else 0,  # of the last one with rows, the monitor would read the profile
            drifted=day > 2,
            columns={} if day < 4 else {"console_spending__mean": drift, EVIL: drift},
            performance={1: performance},
            quality="warn" if day == 1 else "ok",
            quality_reasons=(EVIL,) if day == 1 else (),
        )
        metadata.windows.put_window(window, b"")
    run = Run(id="watched-run", pipeline="watched-train", reason=EVIL, parameters={"note": EVIL}, created_at=now)
    step = StepRun(step="train", status=StepStatus.FAILED, key="k", started_at=now, ended_at=now, error=EVIL)
    metadata.runs.create_run(run.model_copy(update={"status": RunStatus.FAILED, "error": EVIL, "ended_at": now}))
    metadata.runs.record_step(run.id, step)
    return run.id


def _open(context: BrowserContext, world: World, place: str, heard: list[str]) -> Page:
    """A page that is loaded; what the browser complains of, as of its policy, is heard."""
    page = context.new_page()
    page.on("console", lambda message: heard.append(f"{place}: {message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"{place}: {error}"))
    page.on("dialog", lambda dialog: heard.append(f"{place}: a script of a value ran: {dialog.message}"))
    reply = page.goto(f"{world.url}{place}", wait_until="load", timeout=DEADLINE_S * 1000)
    assert reply is not None
    assert reply.status == 200, page.inner_text("body")
    assert "This page is not complete" not in page.inner_text("main"), page.inner_text(".problems")
    return page


def test_every_page_in_a_browser(world: World, chromium: Browser) -> None:
    """Nothing is found by axe, nothing breaks the policy, no text of a user runs, and nothing is wider than a phone."""
    from axe_playwright_python.sync_playwright import Axe

    heard: list[str] = []
    context = chromium.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    axe = Axe()
    for place in world.pages.values():
        page = _open(context, world, place, heard)
        found = axe.run(page)
        assert found.violations_count == 0, f"{place}: {found.generate_report()}"
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{place} is {wide} pixels wider than a phone"
        page.close()
    context.close()
    assert heard == []


def test_graphs_are_drawn_and_their_nodes_are_links(world: World, chromium: Browser) -> None:
    heard: list[str] = []
    context = chromium.new_context()
    page = _open(context, world, world.pages["lineage"], heard)
    page.locator(".graph svg a").first.wait_for(timeout=DEADLINE_S * 1000)
    assert page.locator(".graph svg a").count() == page.evaluate(
        "JSON.parse(document.querySelector('.graph').dataset.graph).nodes.length"
    )
    page.locator(f'.graph svg a[aria-label="endpoint {MODEL}"]').click()
    page.wait_for_url(f"**/console/lineage/endpoint/{MODEL}*", timeout=DEADLINE_S * 1000)
    context.close()
    assert heard == []


def test_a_page_refreshes_itself_where_that_is_asked_for(world: World, chromium: Browser) -> None:
    heard: list[str] = []
    context = chromium.new_context()
    page = _open(context, world, "", heard)
    page.click("text=Refresh every 5 s")
    page.wait_for_url("**/console?live=1", timeout=DEADLINE_S * 1000)
    with page.expect_response("**/console?live=1", timeout=DEADLINE_S * 1000) as answer:
        pass
    assert answer.value.request.headers["hx-request"] == "true"
    page.click("text=Stop refreshing")
    page.wait_for_url("**/console", timeout=DEADLINE_S * 1000)
    context.close()
    assert heard == []


def test_every_page_is_whole_without_scripts(world: World, chromium: Browser) -> None:
    heard: list[str] = []
    context = chromium.new_context(java_script_enabled=False)
    for name, place in world.pages.items():
        page = _open(context, world, place, heard)
        assert page.locator("h1").count() == 1, name
        assert page.locator("main section, main table").count(), name
        page.close()
    page = _open(context, world, world.pages["ledger"], heard)
    page.fill("#subject", MODEL)
    page.fill("#action", "deploy")
    page.click("text=Filter")
    assert page.locator("tbody tr").count() == 1
    page.locator("tbody a").first.click()
    assert EVIL in page.inner_text("main")
    page = _open(context, world, "/lineage", heard)
    page.select_option("#kind", "model")
    page.fill("#name", f"{MODEL}@1")
    page.click("text=Show")
    assert page.locator("td", has_text=f"endpoint {MODEL}").count() == 1
    context.close()
    assert heard == []


def test_the_command_tells_the_address(world: World, command: Any) -> None:
    done = command("console")
    assert (done.returncode, done.stdout.strip()) == (0, world.url), done.stderr
