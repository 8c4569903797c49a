"""A model card in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

__all__ = ["render_card"]


def render_card(card: Mapping[str, Any]) -> RenderableType:
    """What a person asks first: who vouches for it, and how good it is."""
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
        said = "[green]granted[/green]" if blessing["granted"] else "[red]refused[/red]"
        table.add_row(f"{blessing['kind']} blessing", said, escape(blessing["reason"]))
    for check in card["checks"]:
        said = "[green]passed[/green]" if check["passed"] else "[red]failed[/red]"
        table.add_row(check["name"].replace("_", " "), said, escape(check["detail"]))
    return Group(escape(head), table)
