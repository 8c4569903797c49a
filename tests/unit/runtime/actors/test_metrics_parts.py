from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raymlops.errors import UnavailableError
from raymlops.runtime.actors.metrics_parts import Part, PartedPage


def read(page: str) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(page)
    return {(s.name, s.labels.get("part", "")): s.value for family in families for s in family.samples}


def test_a_part_that_hangs_fails_or_breaks_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def hang() -> str:
        assert go_on.wait(60)
        return "late 3\n"

    def away() -> str:
        raise UnavailableError("the features actor is away")

    def broken() -> str:
        raise KeyError("x")

    page = PartedPage(
        [
            Part("a", lambda: "one 1\n"),
            Part("h", hang),
            Part("w", away),
            Part("b", broken),
            Part("z", lambda: "two 2\n"),
        ],
        timeout_s=0.2,
    )
    found = read(page.render())
    assert (found["one", ""], found["two", ""]) == (1, 2)
    assert {part: value for (name, part), value in found.items() if name == "raymlops_scrape_up"} == {
        "a": 1, "h": 0, "w": 0, "b": 0, "z": 1,
    }  # fmt: skip
    assert ("late", "") not in found
    assert "the metrics of h did not come within 0.2 s" in caplog.text
    assert "the features actor is away" in caplog.text
    go_on.set()


def test_a_part_under_way_is_waited_for_and_not_begun_again() -> None:
    calls, go_on = [], threading.Event()

    def slow() -> str:
        calls.append(1)
        assert go_on.wait(60)
        return "late 3\n"

    page = PartedPage([Part("s", slow)], timeout_s=0.05)
    assert read(page.render())["raymlops_scrape_up", "s"] == 0
    assert read(page.render())["raymlops_scrape_up", "s"] == 0
    assert len(calls) == 1
    go_on.set()
    patient = PartedPage(page._parts, timeout_s=60)
    found = read(patient.render())
    assert (found["late", ""], found["raymlops_scrape_up", "s"], len(calls)) == (3, 1, 1)


def test_what_is_young_enough_is_not_made_anew() -> None:
    made = iter(range(9))
    page = PartedPage(
        [Part("old", lambda: f"old {next(made)}\n", every_s=3600), Part("new", lambda: f"new {next(made)}\n")], 60
    )
    first, second = read(page.render()), read(page.render())
    assert first["old", ""] == second["old", ""]
    assert first["new", ""] != second["new", ""]


def test_a_timeout_within_a_part_is_a_failure_of_that_part() -> None:
    def raises() -> str:
        raise TimeoutError("the database is locked")

    found = read(PartedPage([Part("t", raises), Part("a", lambda: "one 1\n")], 60).render())
    assert (found["raymlops_scrape_up", "t"], found["one", ""]) == (0, 1)
