"""People act on the console of a running platform, in a real browser: with JavaScript and without."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import requests

from tests.support.killed_project import DEFINITIONS
from tests.support.training_project import PROJECT, SOURCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from raymlops.platform import Platform

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

MODEL = "acted"
WAIT_MS = 60_000.0
"""An order may wait for a process to start."""


@pytest.fixture(scope="module")
def served(platform: Platform) -> Iterator[str]:
    """A model with three versions, of which the second is served and the first is its backup."""
    from sklearn.linear_model import LinearRegression

    rows = np.random.default_rng(0).normal(size=(50, 2))
    example = pa.table({name: [0.1, -0.2] for name in "ab"})
    for factor in (1.0, 2.0, 3.0):
        estimator = LinearRegression().fit(rows, factor * rows.sum(axis=1))
        platform.models.register(MODEL, estimator, example=example)
    platform.endpoints.deploy(MODEL, 1)
    platform.endpoints.deploy(MODEL, 2)
    yield MODEL
    if platform.endpoints.plan(MODEL).served:
        platform.endpoints.undeploy(MODEL)


@pytest.fixture(scope="module")
def bundle(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle that nobody has approved."""
    place = tmp_path_factory.mktemp("approved")
    platform.apply(*DEFINITIONS)
    described = PROJECT.model_copy(update={"name": "approved", "model": "approved"})
    (place / "killed_project.py").write_text(SOURCE)
    (place / "test_it.py").write_text("from killed_project import spine\n\n\ndef test_it():\n    assert spine\n")
    (place / "project.yaml").write_text(json.dumps(described.model_dump(mode="json")))
    return platform.delivery.build(place).digest


class Person:
    """Somebody before a browser."""

    def __init__(self, page: Page, url: str, name: str = "") -> None:
        self.page = page
        self.name = name
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str) -> None:
        self.page.goto(f"{self.url}/console{path}")

    def sign_in(self, key: str) -> None:
        self.go("/login")
        self.page.get_by_label("API key").fill(key)
        with self.page.expect_navigation():  # else the next page that is asked for would cut the answer off
            self.page.get_by_role("main").get_by_role("button", name="Sign in").click()

    def act(self, path: str, title: str, reason: str, **fields: str) -> str:
        """Follow an action from its page to its end; returns what the page says then."""
        self.go(path)
        if fields:
            for label, text in fields.items():
                self.page.get_by_label(label, exact=True).fill(text)
            self.page.get_by_role("button", name="Show what would happen").click()
        self.page.get_by_role("heading", name="What is lost").wait_for()
        self.page.get_by_label("Why?").fill(reason)
        self.page.get_by_role("main").get_by_role("button", name=title, exact=True).click()
        self.page.wait_for_url(re.compile("/actions/done/"))
        return self.page.get_by_role("main").inner_text()


def check_by_axe(page: Page) -> None:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


SCRIPTS = [pytest.param(True, id="JavaScript"), pytest.param(False, id="no JavaScript")]


@pytest.fixture(params=SCRIPTS)
def person(chromium: Browser, platform: Platform, request: pytest.FixtureRequest) -> Iterator[Person]:
    context = chromium.new_context(java_script_enabled=request.param)
    yield Person(context.new_page(), platform.url, "ann" if request.param else "ann of no script")
    context.close()


def made(command: Callable[..., Any], name: str, *grants: str, more: tuple[str, ...] = ()) -> str:
    options = [option for grant in grants for option in ("--grant", grant)]
    done = command("keys", "create", name, *options, *more, "--reason", "on call")
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


# without JavaScript the pages are the same forms, as the tests of keys and of two people send them
@pytest.mark.parametrize(
    "person", [SCRIPTS[0], pytest.param(False, id="no JavaScript", marks=pytest.mark.slow)], indirect=True
)
def test_every_action_from_its_page_to_the_ledger(
    platform: Platform, served: str, bundle: str, command: Callable[..., Any], person: Person
) -> None:
    key = made(command, person.name, f"operate:{MODEL}", f"trigger:{MODEL}", "operate:env/staging")
    person.sign_in(key)
    person.page.get_by_role("button", name="Sign out").wait_for()
    newest = platform.ledger.entries()[-1].sequence

    def plan() -> Any:
        return platform.endpoints.plan(MODEL)

    told = person.act(f"/actions/promote?model={MODEL}", "Promote a version", "v3 is better", version="3")
    assert "v3 answers as champion" in told
    assert (plan().champion, plan().backup) == (3, 2)
    assert "v2 answers as champion" in person.act(f"/actions/rollback?model={MODEL}", "Roll back", "v3 is not")
    platform.endpoints.trial(MODEL, 3, weight=0.1)
    person.go(f"/models/{MODEL}")
    person.page.get_by_role("link", name="Abort the trial").click()
    person.page.get_by_text("The trial of v3 ends").wait_for()
    person.act(f"/actions/abort?model={MODEL}", "Abort the trial", "enough seen")
    assert plan().trial is None
    person.act(f"/actions/block?model={MODEL}&version=3", "Block a version", "it is wrong")
    assert plan().blocked == (3,)
    person.act(f"/actions/unblock?model={MODEL}&version=3", "Unblock a version", "it was not")
    assert plan().blocked == ()
    person.act(f"/actions/pause?model={MODEL}", "Pause the loop", "maintenance")
    person.act(f"/actions/resume?model={MODEL}", "Resume the loop", "maintenance is over")
    person.act(f"/actions/retrain?model={MODEL}", "Retrain now", "labels were mended")
    person.act(f"/actions/unload?model={MODEL}", "Undeploy the model", "a break")
    assert not plan().served
    person.act(f"/actions/load?model={MODEL}", "Deploy a version", "the break is over", version="2")
    assert (plan().champion, plan().served) == (2, True)
    person.act(f"/actions/approve?environment=staging&bundle={bundle}", "Approve a bundle", "I have read it")
    platform.endpoints.promote(MODEL, 1)
    platform.endpoints.promote(MODEL, 2)  # as it was, for whoever comes next

    entries = [entry for entry in platform.ledger.entries() if entry.sequence > newest]
    used = [entry for entry in entries if entry.action in {"use_right", "order_retraining"}]
    asked = [entry.evidence.get("asked", "retrain") for entry in used]
    assert asked == [
        "promote", "rollback", "abort", "block", "unblock", "pause", "resume", "retrain", "unload", "load", "approve",
    ]  # fmt: skip
    identifier = key.split("_")[1]
    assert {entry.evidence["by"] for entry in used} == {f"key {identifier} ({person.name})"}
    for entry, action in zip(used, ("promote", "roll_back", "roll_back", "block_version"), strict=False):
        did = next(one for one in entries if one.sequence > entry.sequence and one.action == action)
        assert (did.reason, did.evidence["by"]) == (entry.reason, entry.evidence["by"])
    assert {"pause", "resume", "approve_bundle"} <= {entry.action for entry in entries}
    assert key.split("_", 2)[2] not in "".join(entry.model_dump_json() for entry in entries)
    assert person.complaints == []


@pytest.mark.slow
def test_pages_of_actions_are_accessible(
    platform: Platform, served: str, command: Callable[..., Any], chromium: Browser
) -> None:
    for scheme, width in (("light", 1280), ("dark", 390)):
        context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
        person = Person(context.new_page(), platform.url)
        person.go("/login")
        check_by_axe(person.page)
        person.sign_in(made(command, f"axe-{scheme}", f"operate:{MODEL}"))
        for action in ("promote", "rollback", "abort", "load", "unload", "pause"):
            person.go(f"/actions/{action}?model={MODEL}")
            check_by_axe(person.page)
        person.act(f"/actions/promote?model={MODEL}&version=3", "Promote a version", "to look at the page")
        check_by_axe(person.page)
        platform.endpoints.promote(MODEL, 2)
        overflow = person.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0
        assert person.complaints == []
        context.close()


def test_a_wrong_a_revoked_and_a_narrow_key(
    platform: Platform, served: str, command: Callable[..., Any], person: Person
) -> None:
    page, path = person.page, f"/actions/rollback?model={MODEL}"
    person.go(path)
    assert page.get_by_label("Why?").count() == 0
    page.get_by_role("main").get_by_role("link", name="Sign in").click()
    page.get_by_label("API key").fill("rml_0123456789ab_guess")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_text("This key is not valid").wait_for()
    number = platform.endpoints.plan(MODEL).number

    person.sign_in(made(command, "bob", "read:*", "operate:other"))
    person.go(path)
    page.get_by_text(f"lacks the grant operate:{MODEL}").wait_for()
    with page.expect_navigation():
        page.get_by_role("button", name="Sign out").click()

    key = made(command, "eve", f"operate:{MODEL}", more=("--expires", "1h"))
    person.sign_in(key)
    person.go(path)
    page.get_by_label("Why?").fill("too late")
    assert command("keys", "revoke", key.split("_")[1]).returncode == 0
    page.get_by_role("main").get_by_role("button", name="Roll back", exact=True).click()
    page.get_by_role("heading", name="A key is needed").wait_for()
    person.sign_in(key)
    page.get_by_text("This key is not valid").wait_for()
    assert platform.endpoints.plan(MODEL).number == number


def test_of_two_people_who_promote_at_once_one_wins(
    platform: Platform, served: str, command: Callable[..., Any], chromium: Browser
) -> None:
    people = []
    for name in ("ann", "bob"):
        context = chromium.new_context(java_script_enabled=False)
        person = Person(context.new_page(), platform.url)
        person.sign_in(made(command, name, f"operate:{MODEL}"))
        person.go(f"/actions/promote?model={MODEL}&version={3 if name == 'ann' else 1}")
        person.page.get_by_label("Why?").fill(f"{name} says so")
        people.append(person)
    number = platform.endpoints.plan(MODEL).number
    for person in people:
        person.page.get_by_role("main").get_by_role("button", name="Promote a version").click()
    people[0].page.get_by_role("heading", name="Done").wait_for()
    people[1].page.get_by_role("heading", name="Somebody else was faster").wait_for()
    assert "ann says so" in people[1].page.get_by_role("main").inner_text()
    people[1].page.get_by_role("link", name="Look again at what would happen").click()
    people[1].page.get_by_text("v1 answers as champion").wait_for()
    assert (platform.endpoints.plan(MODEL).number, platform.endpoints.plan(MODEL).champion) == (number + 1, 3)
    platform.endpoints.promote(MODEL, 2)
    for person in people:
        person.page.context.close()


def test_a_narrow_key_is_refused_everywhere_and_told_to_the_ledger(
    platform: Platform, served: str, command: Callable[..., Any]
) -> None:
    key = made(command, "narrow", "operate:other")
    headers = {"Authorization": f"Bearer {key}"}
    before = platform.ledger.entries()[-1].sequence
    for _ in range(20):
        answer = requests.post(f"{platform.url}/v2/repository/models/{MODEL}/rollback", headers=headers, timeout=20)
        assert answer.status_code == 403

    def told() -> list[Any]:
        return [
            entry for entry in platform.ledger.entries() if entry.sequence > before and entry.action == "refuse_access"
        ]

    end = time.monotonic() + 20
    while not told() and time.monotonic() < end:
        time.sleep(0.1)
    entry = told()[0]
    assert (entry.evidence["name"], entry.evidence["key"]) == ("narrow", key.split("_")[1])
    assert 1 <= entry.evidence["count"] <= 20
    assert len(told()) <= 2, "one, or two where a minute ends meanwhile"
