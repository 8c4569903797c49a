"""A model card's page: one file, no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from raymlops.monitoring.report.html import page_template
from raymlops.steps.model_card.card_plots import Bar, Curve, bar_chart, forest_plot, histogram, xy_chart

__all__ = ["render_card"]

_GOOD, _BAD, _OTHER = "#277a4c", "#b3261e", "#b84f14"
_MOST_ROWS = 24


def render_card(card: Mapping[str, Any]) -> str:
    """The page of a card, from its JSON values alone."""
    holdout = card["evaluation"]["holdout"]
    plots = {
        "metric": _metric_plot(card),
        "reliability": _reliability_plot(holdout) if holdout["calibration"] else "",
        "scores": _scores_plot(card),
        "curve": _curve_plot(card),
        "slices": _slices_plot(holdout),
        "importances": _importances_plot(card["importances"]),
        "trials": _trials_plot(card),
        "comparison": _comparison_plot(card["comparison"]),
    }
    # drawn here, and every text in them escaped there
    drawn = {name: Markup(plot) for name, plot in plots.items()}  # noqa: S704
    missing = sorted(card["data"]["missing_shares"].items(), key=lambda item: -item[1]["holdout"])
    return page_template("raymlops.steps", "card.html.j2").render(
        card=card,
        holdout=holdout,
        metric=card["task"]["metric"],
        metrics=_metric_rows(card),
        plots=drawn,
        missing=[(name, shares) for name, shares in missing[:10] if max(shares.values()) > 0],
        hidden_slices=max(0, len(holdout["slices"]) - _MOST_ROWS),
    )


def _metric_rows(card: Mapping[str, Any]) -> list[tuple[str, list[float | None], tuple[float, float] | None]]:
    """Name, values on training rows, holdout, of the champion and of the baseline, and the holdout's interval."""
    evaluation = card["evaluation"]
    columns = (evaluation["train"], evaluation["holdout"]["metrics"], card["champion_metrics"], evaluation["baseline"])
    intervals = evaluation["holdout"]["intervals"]
    return [
        (name, [column.get(name) for column in columns], intervals.get(name))
        for name in evaluation["holdout"]["metrics"]
    ]


def _metric_plot(card: Mapping[str, Any]) -> str:
    metric, evaluation = card["task"]["metric"], card["evaluation"]
    low, high = evaluation["holdout"]["intervals"][metric]
    bars = [
        Bar("training rows", evaluation["train"][metric], color="var(--faint)"),
        Bar("holdout", evaluation["holdout"]["metrics"][metric], low, high),
    ]
    if metric in card["champion_metrics"]:
        bars.append(Bar(f"champion, version {card['champion']}", card["champion_metrics"][metric], color=_OTHER))
    bars.append(Bar("constant baseline", evaluation["baseline"][metric], color="var(--faint)"))
    return bar_chart(bars, metric)


def _reliability_plot(holdout: Mapping[str, Any]) -> str:
    bins = holdout["calibration"]
    most = max(one["rows"] for one in bins)
    sizes = [2.5 + 4.0 * (one["rows"] / most) ** 0.5 for one in bins]
    points = [(one["predicted"], one["observed"]) for one in bins]
    return xy_chart([Curve("bin", points, sizes=sizes)], "predicted probability", "observed share", diagonal=True)


def _scores_plot(card: Mapping[str, Any]) -> str:
    scores = card["scores"]
    if "points" in scores:
        points = [(said, came) for said, came in scores["points"]]
        return xy_chart([Curve("row", points, joined=False)], "predicted", "observed", diagonal=True)
    names = ("no", "yes") if len(card["task"]["classes"]) == 2 else ("named class was wrong", "named class was right")
    groups = [(names[0], _OTHER, scores["counts"]["0"]), (names[1], "#2f6db3", scores["counts"]["1"])]
    return histogram(scores["edges"], groups, "predicted probability")


def _curve_plot(card: Mapping[str, Any]) -> str:
    curve = card["evaluation"]["fit"]["curve"]
    return xy_chart([Curve("loss", [(a, b) for a, b in curve])], "rounds", "loss on training rows") if curve else ""


def _slices_plot(holdout: Mapping[str, Any]) -> str:
    slices = sorted(holdout["slices"], key=lambda each: -each["loss"])[:_MOST_ROWS]
    if not slices:
        return ""
    bars = [
        Bar(
            f"{each['column']} = {each['value']}",
            each["loss"],
            each["low"],
            each["high"],
            color=_BAD if each["low"] > holdout["loss"] else "var(--main)",
            note=f"over {each['rows']} rows",
        )
        for each in slices
    ]
    return forest_plot(bars, "loss by slice", holdout["loss"])


def _importances_plot(importances: Mapping[str, float]) -> str:
    best = sorted(importances.items(), key=lambda item: -item[1])[:_MOST_ROWS]
    return bar_chart([Bar(name, share) for name, share in best], "importances") if best else ""


def _trials_plot(card: Mapping[str, Any]) -> str:
    metric = card["task"]["metric"]
    done = [trial for trial in card["training"]["trials"] if trial["status"] == "succeeded"]
    points = [(trial["number"], trial["metrics"][metric]) for trial in done]
    won = card["training"]["winner"]["trial"]
    curves = [
        Curve("trial", [point for point in points if point[0] != won], joined=False),
        Curve("winner", [point for point in points if point[0] == won], color=_GOOD, sizes=(6.0,), joined=False),
    ]
    return xy_chart(curves, "trial", f"{metric} on validation rows") if len(points) > 1 else ""


def _comparison_plot(comparison: Mapping[str, Any]) -> str:
    difference = comparison["difference"]
    bars = [Bar("all rows", difference["mean"], difference["low"], difference["high"])]
    for name, interval in sorted(comparison["slices"].items(), key=lambda item: -item[1]["mean"])[: _MOST_ROWS - 1]:
        color = _BAD if interval["low"] > 0 else _GOOD if interval["high"] < 0 else "var(--faint)"
        bars.append(Bar(name, interval["mean"], interval["low"], interval["high"], color=color))
    return forest_plot(bars, "difference of the losses", 0.0)
