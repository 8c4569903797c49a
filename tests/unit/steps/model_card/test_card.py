from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from raymlops.cli.registry.model_card import render_card as render_in_terminal
from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore
from raymlops.steps import TrainingContext
from raymlops.steps.model_card.card_page import render_card
from raymlops.steps.model_card.card_plots import Bar, Curve, bar_chart, forest_plot, histogram, xy_chart


@pytest.fixture
def kept(next_context: TrainingContext) -> tuple[dict[str, Any], str]:
    """The card of the first run, as it is kept among its artifacts."""
    (outputs,) = (step.outputs for step in next_context.metadata.runs.get_run("run-1").steps if step.step == "card")
    artifacts = ArtifactStore(next_context.home / "artifacts")
    page = artifacts.get(ArtifactRef(digest=outputs["page"], kind="bytes")).decode()
    return artifacts.get(ArtifactRef(digest=outputs["card"], kind="json")), page


def test_a_card_says_what_the_version_is_and_who_vouches_for_it(
    next_context: TrainingContext, kept: tuple[dict[str, Any], str]
) -> None:
    card, version = kept[0], next_context.metadata.models.get_version("toy", 1)
    assert (card["model"], card["run"], card["bundle"]) == ("toy", "run-1", version.bundle)
    assert card["blessings"] == [blessing.model_dump(mode="json") for blessing in version.blessings]
    assert card["data"]["training_set"] == version.training_set
    assert card["evaluation"]["holdout"]["metrics"]["log_loss"] == version.metrics["log_loss"]
    assert card["evaluation"]["train"]["log_loss"] == version.metrics["train_log_loss"]
    assert {check["name"] for check in card["checks"]} >= {"learned", "beats_baseline", "converged"}
    assert sum(card["importances"].values()) == pytest.approx(1.0)
    counts = card["scores"]["counts"]
    assert sum(counts["0"]) + sum(counts["1"]) == card["evaluation"]["holdout"]["rows"]


def test_the_page_needs_nothing_from_elsewhere_and_has_every_plot(kept: tuple[dict[str, Any], str]) -> None:
    card, page = kept
    assert page == render_card(card)
    assert not re.findall(r"""(?:src|href|url\()\s*=?\s*["'(]?(?:https?:)?//""", page)
    assert "<script" not in page
    for title in ("Blessings", "Quality", "Calibration", "Slices", "Search", "What it rests on", "Checks", "Made of"):
        assert f"<h2>{title}</h2>" in page
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 6
    for drawing in drawings:
        ElementTree.fromstring(drawing)
    assert f"{card['evaluation']['holdout']['metrics']['log_loss']:.4f}" in page


def test_names_from_the_data_are_no_markup(kept: tuple[dict[str, Any], str]) -> None:
    card = kept[0]
    evil = "<script>alert(1)</script>"
    slices = [{**card["evaluation"]["holdout"]["slices"][0], "value": evil}]
    holdout = {**card["evaluation"]["holdout"], "slices": slices}
    page = render_card({**card, "model": evil, "evaluation": {**card["evaluation"], "holdout": holdout}})
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_card_can_be_read_in_a_terminal(kept: tuple[dict[str, Any], str]) -> None:
    plain = Console(width=200)
    with plain.capture() as text:
        plain.print(render_in_terminal(kept[0]))
    assert "infrastructure blessing" in text.get()
    assert "of the constant baseline" in text.get()


def test_plots_of_nothing_say_so() -> None:
    for drawn in (xy_chart([], "x", "y"), bar_chart([], "b"), histogram([0.0, 1.0], [("a", "red", [0])], "x")):
        assert "nothing to draw" in drawn


def test_points_lie_where_their_values_are() -> None:
    drawn = ElementTree.fromstring(
        xy_chart([Curve("c", [(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)])], "x", "y", diagonal=True)
    )
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    xs, ys = ([float(circle.attrib[name]) for circle in circles] for name in ("cx", "cy"))
    assert xs[1] == pytest.approx((xs[0] + xs[2]) / 2)
    assert (ys[0] - ys[1]) / (ys[0] - ys[2]) == pytest.approx(0.25, abs=0.01)


def test_an_interval_lies_around_its_point() -> None:
    drawn = ElementTree.fromstring(forest_plot([Bar("a & b", 0.5, 0.4, 0.7)], "f", 0.3))
    space = "{http://www.w3.org/2000/svg}"
    point = float(drawn.findall(f"{space}circle")[0].attrib["cx"])
    interval = drawn.findall(f"{space}line")[-1].attrib
    assert float(interval["x1"]) < point < float(interval["x2"])
