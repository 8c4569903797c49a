"""A model card in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["render_card"]


def render_card(card: Mapping[str, Any]) -> RenderableType:
    """A model card for a terminal: its metrics, blessings and checks."""
    evaluation, metric = card["evaluation"], card["task"]["metric"]
    low, high = evaluation["holdout"]["intervals"][metric]
    head = (
        f"{card['model']}: {card['training']['winner']['family']} of run {card['run']}, as of {card['as_of'][:16]}\n"
        f"{metric} {evaluation['holdout']['metrics'][metric]:.4f} [{low:.4f}, {high:.4f}] on "
        f"{evaluation['holdout']['rows']} rows; {evaluation['train'][metric]:.4f} on those it was fitted on, "
        f"{evaluation['baseline'][metric]:.4f} of the constant baseline"
    )
    table = Table("", "", "", box=None, pad_edge=False, show_header=False)
    for blessing in card["blessings"]:
        said = Text("granted", "green") if blessing["granted"] else Text("refused", "red")
        table.add_row(f"{blessing['kind']} blessing", said, Text(blessing["reason"]))
    for check in card["checks"]:
        said = Text("passed", "green") if check["passed"] else Text("failed", "red")
        table.add_row(Text(check["name"].replace("_", " ")), said, Text(check["detail"]))
    return Group(Text(head), table)
