"""``raymlops control ...``."""

from __future__ import annotations

from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Decisions.")
_Model = Annotated[str | None, typer.Argument(help="A model; left out, all.")]


@app.command()
@one_line_errors
def triggers(json: JsonOption = False, config: ConfigOption = None) -> None:
    """What the retraining policy says about each model, as of the last turn."""
    with platform(config) as connected:
        show(connected.control.status(), ["model", "phase", "champion", "verdict", "problem"], as_json=json)


@app.command()
@one_line_errors
def decisions(model: _Model = None, json: JsonOption = False, config: ConfigOption = None) -> None:
    """What was done and why, oldest first."""
    with platform(config) as connected:
        show(connected.ledger.entries(model), ["sequence", "at", "subject", "action", "reason"], as_json=json)


@app.command()
@one_line_errors
def backtest(model: str, json: JsonOption = False, config: ConfigOption = None) -> None:
    """When the present policy would have retrained, over the stored windows."""
    with platform(config) as connected:
        rows = connected.control.backtest(model)
    show(rows, ["at", "triggers", "reason"], as_json=json)


@app.command()
@one_line_errors
def pause(model: _Model = None, reason: str = "on demand", config: ConfigOption = None) -> None:
    """Decide nothing more, until resumed."""
    with platform(config) as connected:
        connected.control.pause(model, reason=reason)
    console.print("paused")


@app.command()
@one_line_errors
def resume(model: _Model = None, reason: str = "on demand", config: ConfigOption = None) -> None:
    """Decide again."""
    with platform(config) as connected:
        connected.control.resume(model, reason=reason)
    console.print("resumed")
