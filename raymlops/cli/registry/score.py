"""``raymlops score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, console, one_line_errors, platform, show
from raymlops.scorecard.card import ScoreCard
from raymlops.scorecard.item import Item

__all__ = ["add_to"]

_MARKS = {"automated": "yes", "manual": "part", "missing": "NO"}
_DAY_S = 86400.0


@one_line_errors
def score(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    json: Annotated[Path | None, typer.Option(help="Write the score card to this file, as JSON.")] = None,
    config: ConfigOption = None,
) -> None:
    """The ML Test Score of a model (28 tests) and the level-2 checklist, each with its evidence."""
    with platform(config) as connected:
        card = connected.control.score(model)
    if json is not None:
        json.write_text(card.model_dump_json(indent=2) + "\n")
    _print(card)


def _print(card: ScoreCard) -> None:
    show([_row(item) for item in card.items], ["test", "passes", "finding", "evidence", "age"], as_json=False)
    console.print()
    show([_row(item) for item in card.level_two], ["test", "passes", "finding", "evidence", "age"], as_json=False)
    console.print()
    for item in (*card.items, *card.level_two):
        if item.remedy:
            console.print(f"{item.id}: {item.remedy}", soft_wrap=True)
    sums = ", ".join(f"{section} {points:g}" for section, points in card.sections.items())
    console.print(f"{card.model}: ML Test Score {card.score:g} of 7, the least of {sums}", soft_wrap=True)


def _row(item: Item) -> dict[str, object]:
    return {
        "test": f"{item.id} {item.title}",
        "passes": _MARKS[item.status],
        "finding": item.finding,
        "evidence": " ".join(proof.id for proof in item.evidence[:2]),
        "age": None if item.age_s is None else f"{item.age_s / _DAY_S:.1f} d",
    }


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)
