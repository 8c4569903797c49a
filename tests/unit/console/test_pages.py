"""Every page, over a filled platform whose every text is a script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from raymlops.console import Console
from raymlops.runtime.explain.lineage import Lineages
from raymlops.serving.protocol.access import OPEN
from raymlops.serving.protocol.http import HttpRequest
from tests.support.console_world import EVIL, NOW, make_sources

if TYPE_CHECKING:
    from tests.unit.console.conftest import Browser

ARTIFACT = "7" * 63 + "0"
BUNDLE = "01" + "b" * 62
PAGES = (
    "",
    "?days=7",
    "models",
    "models?text=chu",
    "models/churn",
    "models/churn?looks=1&at=2026-04-20T10:00",
    "models/churn/1",
    "models/churn/2",
    "monitoring",
    "monitoring/churn",
    "monitoring/churn?until=2026-04-20T00:00:00%2B00:00",
    "features",
    "features?text=spending",
    "features?text=nothing",
    "features/spending@1",
    "features?environment=dev",
    "features/spending@1?environment=dev",
    "runs",
    "runs?status=failed",
    "runs/churn-3",
    "runs/churn-3?step=train",
    "runs/compare?run=churn-0&run=churn-3",
    "lineage",
    "lineage/model/churn@1",
    "lineage/run/churn-0",
    f"lineage/artifact/{ARTIFACT}",
    "lineage/table/spending?hops=1",
    "lineage/endpoint/churn",
    "lineage/feature/spending@1",
    "delivery",
    "delivery?pipeline=churn-train",
    f"delivery/bundles/{BUNDLE}",
    "ledger",
    "ledger?subject=churn&action=promote",
    "ledger/1",
    "ledger/verify",
    "policy/churn",
    "policy/churn?all=1",
    "system",
    "system?given=1",
)
ALLOWED = {"html", "head", "meta", "title", "link", "script", "body", "a", "header", "div", "strong", "nav", "ul", "li"}
ALLOWED |= {"span", "main", "section", "h1", "h2", "h3", "p", "footer", "time", "table", "caption", "thead", "tbody"}
ALLOWED |= {
    "tr",
    "th",
    "td",
    "form",
    "label",
    "input",
    "select",
    "option",
    "button",
    "datalist",
    "ol",
    "dl",
    "dt",
    "dd",
}
ALLOWED |= {"code", "pre", "br", "details", "summary", "b", "i", "noscript", "svg", "g", "rect", "line", "path", "text"}
ALLOWED |= {"circle", "polygon", "polyline"}


class Read(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(page: str) -> Read:
    reader = Read()
    reader.feed(page)
    reader.close()
    return reader


@pytest.mark.parametrize("path", PAGES)
def test_a_page_holds_no_element_that_a_text_could_have_made(browser: Browser, path: str) -> None:
    page = browser.page(path)
    found = read(page)
    assert "<script>alert" not in page
    assert "This page is not complete" not in page
    assert "on the platform's clock. RayMLOps 1.2.3." in found.text
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert sum(tag == "h1" for tag, _ in found.elements) == 1
    for tag, attributes in found.elements:
        assert tag in ALLOWED, tag
        assert not any(name == "style" or name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "script":
            assert "src" in attributes or attributes["type"] == "application/json"
        if tag == "form":
            assert attributes["method"] == "get"
        if tag == "th":
            assert "scope" in attributes


def test_every_link_leads_to_a_page(browser: Browser) -> None:
    links: set[str] = set()
    for path in PAGES:
        found = read(browser.page(path))
        own = {str(attributes["href"]) for tag, attributes in found.elements if tag == "a"}
        anchors = {str(attributes.get("id")) for _, attributes in found.elements}
        assert {link[1:] for link in own if link.startswith("#")} <= anchors
        links |= {link.partition("#")[0] for link in own} - {""}
    assert len(links) > 80
    for link in sorted(links):
        assert link.startswith("/console"), link
        status = browser.reply(link.removeprefix("/console").removeprefix("/")).status
        # runs name a bundle of all zeros, definitions of other kinds are not described, the newest entry has no next
        unknown = any(part in link for part in ("/bundles/000", "/lineage/", "/features/", "/ledger/"))
        assert status == 200 or (status == 404 and unknown), link


def test_the_loop_says_what_needs_a_person(browser: Browser) -> None:
    text = read(browser.page()).text
    needs = text[text.index("What needs a person") : text.index("What the loop did")]
    for what in ("decide about the trial", "does not answer", "turn fails", "blocked", "broken data"):
        assert what in needs
    assert EVIL in needs
    assert "3 models are served in dev" in text


def test_the_time_line_has_windows_triggers_runs_trials_and_swaps(browser: Browser) -> None:
    titles = re.findall(r"<title>([^<]*)</title>", browser.page())
    for what in ("window of", "drift", "broken data", "run churn-3: failed", "trial of v4", "v3 becomes champion"):
        assert any(what in title for title in titles), what
    assert any(title.startswith("a retraining is started") for title in titles)


def test_a_model_shows_its_rollout(browser: Browser) -> None:
    text = read(browser.page("models/churn?looks=1")).text
    assert "Trial of v4 beside v3" in text
    assert "▶ canary 10%" in text
    assert "canary 50%" in text
    drawn = re.search(r'aria-label="loss of the candidate[^"]*"', browser.page("models/churn?looks=1"))
    assert drawn is not None
    assert drawn.group().count("over 240 rows") == 7  # now, and six looks before
    assert "margin 0.02" in drawn.group()


def test_a_page_refreshes_itself_where_that_is_asked_for(browser: Browser) -> None:
    still, live = read(browser.page("?days=7")), read(browser.page("?days=7&live=1"))
    assert not [tag for tag, attributes in still.elements if "hx-get" in attributes]
    (main,) = [attributes for tag, attributes in live.elements if "hx-get" in attributes]
    assert main["hx-get"] == "/console?days=7&live=1"
    assert main["hx-trigger"] == "every 5s"
    assert "/console?days=7" in {attributes.get("href") for tag, attributes in live.elements if tag == "a"}
    assert not [tag for tag, attributes in read(browser.page("ledger?live=1")).elements if "hx-get" in attributes]


def test_a_name_is_what_was_quoted(browser: Browser) -> None:
    assert "run '../x' does not exist" in read(browser.page("runs/..%2Fx", 404)).text
    assert "has request id 'a/b'" in read(browser.page("lineage/request/a%2Fb", 404)).text


def test_a_version_shows_its_card(browser: Browser) -> None:
    text = read(browser.page("models/churn/1")).text
    assert f"note {EVIL} metrics log loss 0.4" in text
    assert "Its run made no card" in browser.page("models/churn/2")


def test_who_served_at_an_instant(browser: Browser) -> None:
    assert "v3 was champion" in read(browser.page("models/churn?at=2026-05-04T12:00")).text
    assert "no version was champion" in read(browser.page("models/churn?at=2020-01-01T00:00")).text


def test_two_runs_are_compared(browser: Browser) -> None:
    text = read(browser.page("runs/compare?run=churn-0&run=churn-3")).text
    assert "≠ parameter.depth 0 3" in text
    assert "pipeline churn-train churn-train" in text
    assert "≠ pipeline" not in text
    assert "two runs are compared" in browser.page("runs/compare?run=churn-0", 400)


def test_the_ledger_is_filtered_and_checked(browser: Browser) -> None:
    page = read(browser.page("ledger?subject=churn&action=promote"))
    rows = [tag for tag, _ in page.elements if tag == "tr"]
    assert len(rows) == 1 + 3
    assert "No entry here" in browser.page("ledger?subject=nobody")
    assert "it holds" in browser.page("ledger/verify")
    assert "there is no ledger entry 9999" in browser.page("ledger/9999", 404)


def test_bundles_are_compared(browser: Browser) -> None:
    text = read(browser.page(f"delivery/bundles/{BUNDLE}")).text
    assert "project.yaml: training.depth 3 4" in text
    assert "file project.yaml 000000000000 111111111111" in text


def test_lineage_goes_two_steps_and_can_go_on(browser: Browser) -> None:
    page = browser.page("lineage/model/churn@4")
    (graph,) = [
        json.loads(str(attributes["data-graph"])) for _, attributes in read(page).elements if "data-graph" in attributes
    ]
    names = {node["name"] for node in graph["nodes"]}
    assert {"churn@4", "spending", "churn", "delay@1", "churn@3"} <= names
    assert "lineage/model/churn@4?hops=3" in page
    there = browser.reply("lineage?kind=run&name=churn-0")
    assert (there.status, there.headers["location"]) == (303, "/console/lineage/run/churn-0")
    assert "has request id" in browser.page("lineage/request/abc", 404)
    assert "there is no lineage of a" in browser.page("lineage/moon/abc", 404)


def test_from_the_id_of_a_request_to_the_data(tmp_path: Path, filled: Path) -> None:
    row = {"row": 0, "version": 2, "role": "champion", "score": 0.25, "label_predicted": EVIL, "served_at": NOW}

    class OneRequest:
        def batches(self, name: str, start: object, end: object, column: str) -> Iterator[pa.Table]:
            del start, end, column
            if name == "predictions/churn":
                yield pa.Table.from_pylist([{"request_id": "r-1", **row}])

    sources, close = make_sources(tmp_path, filled=filled)
    lineage = Lineages(sources.metadata, OneRequest())  # type: ignore[arg-type]
    console = Console(replace(sources, lineage=lineage))
    try:
        reply = console.answer(HttpRequest("GET", "/console/lineage/request/r-1"), OPEN)
    finally:
        console.close()
        close()
    found = read(reply.body.decode())
    assert reply.status == 200
    assert "Answered by churn v2 as champion" in found.text
    assert "trained on spending at version 2" in found.text
    assert f"put there by controller why {EVIL}" in found.text
    links = {attributes.get("href") for tag, attributes in found.elements if tag == "a"}
    assert {"/console/models/churn/2", "/console/lineage/table/spending"} <= links


def test_settings_say_who_gave_them(browser: Browser) -> None:
    text = read(browser.page("system?text=serving.port")).text
    assert f"serving.port 8000 {EVIL}" in text
    text = read(browser.page("system?text=serving.host")).text
    assert "serving.host 127.0.0.1 defaults" in text


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("runs?status=lost", 400, "'status' must be one of"),
        ("runs?before=x", 400, "'before' must be a place in the list"),
        (f"runs?before={'9' * 30}.1", 400, "'before' must be a place in the list"),
        ("delivery?before=x", 400, "'before' must be a place in the list"),
        (f"delivery?before={'9' * 30}", 400, "'before' must be a place in the list"),
        ("?days=999999999999", 400, "'days' must be at most 3660, got 999999999999"),
        ("ledger?before=-1", 400, "'before' must be a whole number"),
        (f"ledger?text={'x' * 201}", 400, "'text' must have at most 200 characters, got 201"),
        ("models/churn?at=yesterday", 400, "'at' must be an instant"),
        ("runs/nobody", 404, "run 'nobody' does not exist"),
        ("models/nobody", 404, "nobody"),
        ("models/churn/99", 404, "99"),
        ("features/nothing", 404, "'nothing' is not applied"),
        ("delivery/bundles/nothing", 404, "nothing"),
        ("lineage/model/churn", 404, "a version of a model is NAME@VERSION, got 'churn'"),
    ],
)
def test_an_address_that_means_nothing_is_refused(browser: Browser, path: str, status: int, told: str) -> None:
    assert told in read(browser.page(path, status)).text


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory, filled: Path) -> Iterator[Console]:
    parts = ["controller", "reconciler", "monitor", "features", "runs", "cluster"]
    sources, close = make_sources(tmp_path_factory.mktemp("dead"), filled=filled, dead=parts)
    console = Console(sources)
    yield console
    console.close()
    close()


@pytest.mark.parametrize(
    ("path", "who", "shown"),
    [
        ("", "the controller", "price"),
        ("/models/churn", "the controller", "Serving plans, newest first"),
        ("/monitoring/churn", "the monitor", "what the metadata tells of each window is below"),
        ("/features", "the features", "Not known now"),
        ("/runs/churn-0", "the home", "3 executions of steps"),
        ("/system", "Ray", "Settings in force"),
        ("/policy/churn", "the controller", "Settings"),
    ],
)
def test_a_page_without_a_part_shows_what_it_can(dead: Console, path: str, who: str, shown: str) -> None:
    reply = dead.answer(HttpRequest("GET", f"/console{path}"), OPEN)
    text = read(reply.body.decode()).text
    assert reply.status == 200
    assert f"{who} cannot say: " in text
    assert shown in text


def test_without_metadata_a_page_says_so(tmp_path: Path, filled: Path) -> None:
    sources, close = make_sources(tmp_path, filled=filled)
    close()
    (tmp_path / "metadata.db").unlink()
    (tmp_path / "metadata.db").mkdir()
    console = Console(sources)
    try:
        first = console.answer(HttpRequest("GET", "/console"), OPEN)
        runs = console.answer(HttpRequest("GET", "/console/runs"), OPEN)
    finally:
        console.close()
    assert first.status == 200
    assert b"the metadata actor cannot say: " in first.body
    assert runs.status == 503
    assert b"the metadata actor cannot say: " in runs.body


def test_a_report_of_2000_columns_opens(tmp_path: Path, filled: Path) -> None:
    sources, close = make_sources(tmp_path, filled=filled, columns=2000)
    console = Console(sources)
    try:
        reply = console.answer(HttpRequest("GET", "/console/monitoring/churn"), OPEN)
    finally:
        console.close()
        close()
    page = reply.body.decode()
    assert reply.status == 200
    assert "All 2000 columns over time" in page
    assert page.count('<tr><th scope="row" title="column-') == 40  # the map shows the most worrying ones


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "No model is served yet."),
        ("/models", "No model is registered yet"),
        ("/monitoring", "No model is served yet."),
        ("/monitoring/nobody", "No window has closed yet"),
        ("/runs", "No run."),
        ("/delivery", "Nothing is deployed yet"),
        ("/ledger", "No entry here."),
        ("/ledger/verify", "of 0 entries"),
        ("/policy/nobody", "no deployed bundle trains the model"),
    ],
)
def test_a_platform_on_its_first_day(tmp_path: Path, path: str, told: str) -> None:
    sources, close = make_sources(tmp_path, empty=True)
    console = Console(sources)
    try:
        reply = console.answer(HttpRequest("GET", f"/console{path}"), OPEN)
    finally:
        console.close()
        close()
    assert reply.status == 200
    assert told in read(reply.body.decode()).text
