"""100 models, 100,000 runs, 10,000 versions: what a page costs does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from raymlops.console import Console, Sources
from raymlops.metadata import MetadataService
from raymlops.serving.protocol.access import OPEN
from raymlops.serving.protocol.http import HttpRequest
from tests.support.console_crowd import MODELS, RUNS, VERSIONS, enlarge
from tests.support.console_world import make_sources

PAGES = (
    "",
    "/models",
    "/models/churn",
    "/runs",
    "/runs?pipeline=churn-train&status=succeeded",
    "/ledger",
    "/ledger?subject=churn",
    "/ledger?action=promote",
    "/monitoring",
    "/delivery",
    "/system",
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, filled: Path) -> Iterator[tuple[Sources, Console]]:
    sources, close = make_sources(tmp_path_factory.mktemp("large"), filled=filled)
    assert isinstance(sources.metadata, MetadataService)
    enlarge(sources.metadata)
    console = Console(sources, deadline_s=60.0)
    yield sources, console
    console.close()
    close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, filled: Path) -> Iterator[tuple[Sources, Console]]:
    sources, close = make_sources(tmp_path_factory.mktemp("small"), filled=filled)
    console = Console(sources, deadline_s=60.0)
    yield sources, console
    console.close()
    close()


@contextmanager
def queries(metadata: MetadataService) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed meanwhile, with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        del connection, cursor, context, many
        if statement.lstrip().upper().startswith("SELECT"):
            found.append((statement, parameters))

    engine = metadata._database._engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def asked(console: Console, sources: Sources, path: str) -> list[tuple[str, Any]]:
    assert isinstance(sources.metadata, MetadataService)
    place, _, query = path.partition("?")
    with queries(sources.metadata) as found:
        reply = console.answer(HttpRequest("GET", f"/console{place}", query=query), OPEN)
    assert reply.status == 200
    assert "This page is not complete" not in reply.body.decode()
    return found


@pytest.mark.parametrize("path", PAGES)
def test_a_page_costs_as_many_queries_as_on_a_small_platform(
    large: tuple[Sources, Console], small: tuple[Sources, Console], path: str
) -> None:
    sources, console = large
    found = asked(console, sources, path)
    assert len(found) == len(asked(small[1], small[0], path)) <= 14, [statement for statement, _ in found]
    assert isinstance(sources.metadata, MetadataService)
    with sources.metadata._database.read() as connection:
        for statement, parameters in found:
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = [str(row[-1]) for row in explained]
            for table in ("runs", "run_steps", "ledger_entries", "windows", "model_versions"):
                assert [step for step in steps if step.startswith(f"SCAN {table}") and "USING" not in step] == []


def test_pages_of_runs_follow_each_other_to_the_end(large: tuple[Sources, Console]) -> None:
    browser = large[0].metadata.browser
    seen: list[str] = []
    before = None
    while True:
        page = browser.run_page("pipeline-7", None, before, 300)
        seen += [run.id for run in page.runs]
        before = page.before
        if before is None:
            break
    wanted = [f"run-{number}" for number in range(RUNS) if number % MODELS == 7]
    assert seen == wanted


def test_a_model_of_10000_versions_shows_the_newest(large: tuple[Sources, Console]) -> None:
    reply = large[1].answer(HttpRequest("GET", "/console/models/churn"), OPEN)
    text = reply.body.decode()
    assert f'<a href="/console/models/churn/{VERSIONS - 1}">v{VERSIONS - 1}</a>' in text
    assert text.count("lineage</a>") == 20
    assert f"versions={VERSIONS - 20}#versions" in text


def test_the_loop_shows_100_models_a_page_at_a_time(large: tuple[Sources, Console]) -> None:
    first = large[1].answer(HttpRequest("GET", "/console"), OPEN).body.decode()
    last = large[1].answer(HttpRequest("GET", "/console", query="page=6"), OPEN).body.decode()
    assert "Models 1 to 15 of 103" in first
    assert "Models 91 to 103 of 103" in last
