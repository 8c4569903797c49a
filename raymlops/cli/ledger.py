"""``raymlops ledger ...``."""

from __future__ import annotations

from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, JsonOption, one_line_errors, platform, show, show_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The ledger: decisions, actions and their reasons.")


@app.command()
@one_line_errors
def entries(
    subject: Annotated[str | None, typer.Argument(help="Usually a model; left out, all.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Entries, oldest first."""
    with platform(config) as connected:
        show(connected.ledger.entries(subject), ["sequence", "at", "subject", "action", "reason"], as_json=json)


@app.command()
@one_line_errors
def verify(config: ConfigOption = None) -> None:
    """Check every hash, every link, the head, and the hashes that earlier checks kept outside of the database."""
    with platform(config) as connected:
        show_json({"entries": connected.ledger.verify(), "verified": True})
