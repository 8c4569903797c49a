"""``raymlops control ...``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.lab import tell, write_report
from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.errors import DataError
from raymlops.laboratory import DEFAULT_PRICE

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Decisions.")
_Model = Annotated[str | None, typer.Argument(help="A model; left out, all.")]


@app.command()
@one_line_errors
def triggers(json: JsonOption = False, config: ConfigOption = None) -> None:
    """What the retraining policy says about each model, as of the last turn."""
    with platform(config) as connected:
        show(connected.control.status(), ["model", "phase", "champion", "verdict", "labels", "problem"], as_json=json)


@app.command()
@one_line_errors
def why(
    model: str,
    at: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"], help="Now, if left out.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What stands against a retraining, and how far a trial is from being decided; now or at another instant."""
    with platform(config) as connected:
        found = connected.control.why(model, None if at is None else at.replace(tzinfo=at.tzinfo or UTC))
    if json:
        show_json(found)
        return
    console.print(f"{found.model}: version {found.champion} since {found.champion_since}: {found.phase}")
    console.print(f"policy: {found.verdict.reason}")
    performance = None if found.window is None else found.window.performance.get(found.champion)
    if performance is not None:
        console.print(f"newest window: {performance.labels_text}")
    if found.below_floor:
        console.print(found.below_floor)
    if not found.reasons:
        console.print("nothing stands against a retraining")
    else:
        show(found.reasons, ["text", "remedy", "until"], as_json=False)
    for standing in found.standings:
        on = f"version {standing.version} on {standing.kind} since {standing.since}, beside {standing.compared_with}"
        console.print(f"{on}: {standing.verdict}: {standing.reason}")
        for guard in standing.guards:
            console.print(f"  {'*' if guard.reached else '-'} {guard.text}")
        if standing.labelled_share is not None:
            lean = standing.label_lean
            leaning = "" if lean is None else f", their mean score {lean:+.3g} off that of all"
            share = f"{standing.labelled_share:.0%} of the rows that are old enough"
            console.print(f"  labels: {share}{leaning}")


@app.command()
@one_line_errors
def decisions(model: _Model = None, json: JsonOption = False, config: ConfigOption = None) -> None:
    """What was done and why, oldest first."""
    with platform(config) as connected:
        show(connected.ledger.entries(model), ["sequence", "at", "subject", "action", "reason"], as_json=json)


@app.command()
@one_line_errors
def backtest(
    model: str,
    price: Annotated[float, typer.Option(help="Of a retraining, in losses of one window.")] = DEFAULT_PRICE,
    html: Annotated[Path | None, typer.Option(help="Write the laboratory's page to this file.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """When the present policy would have retrained, and what retraining was worth on the model's own record.

    Without labelled rows enough for the laboratory, the decisions alone, and why.
    """
    report, problem = None, None
    with platform(config) as connected:
        decided = connected.control.backtest(model)
        try:
            report = connected.control.laboratory(model, price=price)
        except DataError as error:  # the record is too short, or holds what cannot be learned from
            problem = str(error)
    if report is not None:
        write_report(report, None, html)
    if json:
        show_json({**(report.to_dict() if report else {"problem": problem}), "decisions": list(decided)})
        return
    show(decided, ["at", "triggers", "reason"], as_json=False)
    if report is None:
        console.print(f"what they were worth is not known: {problem}")
    else:
        tell(report)


@app.command()
@one_line_errors
def promote(
    model: str,
    whole: Annotated[bool, typer.Option("--whole", help="Leave out what is left of the ramp.")] = False,
    reason: str = "on demand",
    config: ConfigOption = None,
) -> None:
    """Give the version on trial its next share of the traffic now, or make it champion."""
    with platform(config) as connected:
        show_json(connected.control.promote(model, whole=whole, reason=reason))


@app.command()
@one_line_errors
def abort(model: str, reason: str = "on demand", config: ConfigOption = None) -> None:
    """End the trial; the champion stays."""
    with platform(config) as connected:
        show_json(connected.control.abort(model, reason=reason))


@app.command()
@one_line_errors
def retry(model: str, reason: str = "on demand", config: ConfigOption = None) -> None:
    """Try the version again whose trial ended last."""
    with platform(config) as connected:
        show_json(connected.control.retry(model, reason=reason))


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
